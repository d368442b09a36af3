"""The catalogue of published weights, and entries that a user adds."""

from pathlib import Path

import pytest

from stemsplit.errors import InputError
from stemsplit.separation.published import catalogue

ENTRY = '[mine]\nstems = ["vocals"]\nfiles = [{address = "https://host/vocals-1.pth"}]\n'


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "my models.toml"
    path.write_text(ENTRY)
    monkeypatch.setenv("STEMSPLIT_MODELS", str(path))
    return path


def test_built_in_entries_are_complete(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STEMSPLIT_MODELS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    models = catalogue.catalogue()
    names = ["umxhq", "umx", "umxl", "scnet", "hdemucs_musdb", "hdemucs_musdb_plus"]
    assert list(models) == names
    for model in models.values():
        assert sorted(model.stems) == ["bass", "drums", "other", "vocals"]
        assert set(model.scores) == set(model.stems)
        assert model.size is not None
        assert model.size > 4e7
        assert model.scores_of
        for file in model.files:
            assert file.address.startswith("https://")
            # Weights of open-unmix have the first digits of their digest in their names.
            assert "-" not in file.name or file.sha256.startswith(file.name[-12:-4])
    seen = {name: model.saw_musdb18_test for name, model in models.items()}
    assert seen["hdemucs_musdb_plus"] == "yes"
    assert seen["umxl"] == "not stated"
    assert models["umx"].licence == "not stated"


def test_own_entries_are_added_with_defaults(own: Path) -> None:
    models = catalogue.catalogue()
    assert {"umxhq", "mine"} <= set(models)
    mine = models["mine"]
    assert (mine.title, mine.licence, mine.saw_musdb18_test) == ("mine", "not stated", "not stated")
    assert (mine.sample_rate, mine.size) == (44100, None)
    assert mine.files[0].name == "vocals-1.pth"


def test_own_entry_replaces_one_of_the_same_name(own: Path) -> None:
    own.write_text(ENTRY.replace("mine", "umxhq"))
    assert catalogue.model("umxhq").stems == ["vocals"]


def test_configuration_folder_has_own_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STEMSPLIT_MODELS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "stemsplit").mkdir()
    (tmp_path / "stemsplit/models.toml").write_text(ENTRY)
    assert "mine" in catalogue.catalogue()


def test_missing_file_of_the_variable_is_an_error(own: Path) -> None:
    own.unlink()
    with pytest.raises(InputError, match=rf"{own}: does not exist; .*STEMSPLIT_MODELS"):
        catalogue.catalogue()


def test_other_things_than_a_file_are_errors(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.unlink()
    own.mkdir()
    with pytest.raises(InputError, match=rf"{own}: is a folder; .*STEMSPLIT_MODELS"):
        catalogue.catalogue()
    monkeypatch.setenv("STEMSPLIT_MODELS", "~no-such-user/models.toml")
    with pytest.raises(InputError, match=r"~no-such-user/models.toml: does not exist; "):
        catalogue.catalogue()


@pytest.mark.parametrize(
    ("address", "encoded"),
    [
        ("http://host/é/vocals.pth", "http://host/%C3%A9/vocals.pth"),
        ("http://host/my models/vocals.pth", "http://host/my%20models/vocals.pth"),
        ("http://host/%C3%A9/vocals.pth?a=é", "http://host/%C3%A9/vocals.pth?a=%C3%A9"),
        ("http://höst/vocals.pth", "http://xn--hst-sna/vocals.pth"),
        ("http://[::1]:8000/vocals.pth", "http://[::1]:8000/vocals.pth"),
        ("file:///é/vocals.pth", "file:///%C3%A9/vocals.pth"),
    ],
)
def test_addresses_are_encoded(own: Path, address: str, encoded: str) -> None:
    own.write_text(ENTRY.replace("https://host/vocals-1.pth", address))
    [file] = catalogue.model("mine").files
    assert (file.address, file.name) == (encoded, "vocals.pth")


def test_stems_may_have_any_letters_and_spaces(own: Path) -> None:
    own.write_text(ENTRY.replace('"vocals"', '"lead vocals", "声"'))
    assert catalogue.model("mine").stems == ["lead vocals", "声"]


def test_control_characters_of_texts_are_escaped(own: Path) -> None:
    keys = ("title", "licence", "trained_on", "scores_of", "page")
    own.write_text(ENTRY + "".join(f'{key} = "\\u001b[31m\\n"\n' for key in keys))
    mine = catalogue.model("mine")
    assert {getattr(mine, key) for key in keys} == {"\\x1b[31m\\n"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[mine", "is not a TOML file"),
        ("mine = 1", "mine: is not an entry"),
        ('[mine]\nstems = ["vocals"]', "mine.files: Field required"),
        (ENTRY + 'licens = "MIT"', "mine.licens: Extra inputs are not permitted"),
        (ENTRY + "sample_rate = 'x'", "mine.sample_rate: Input should be a valid integer"),
        (ENTRY + 'saw_musdb18_test = "maybe"', "mine.saw_musdb18_test: Input should be 'yes'"),
        (ENTRY + 'name = "x"', "mine: remove the key name"),
        (ENTRY.replace('"vocals"', ""), "mine: needs at least one file and one stem"),
        (
            ENTRY.replace("https", "ftp"),
            "mine: ftp://host/vocals-1.pth: an address must start with",
        ),
        (ENTRY.replace("https://host", ""), "an address must start with http://"),
        (ENTRY.replace("vocals-1.pth", ""), "does not end in a name for the file"),
        (ENTRY.replace("vocals-1.pth", "..%2F.bashrc"), "'-' only); set the key name"),
        (ENTRY.replace('.pth"', '.pth", name = "../evil"'), "mine: name = '../evil': a name has"),
        (ENTRY.replace(".pth", ".pth.part"), "vocals-1.pth.part: a name that ends in .part is for"),
        (ENTRY.replace('.pth"', '.pth", name = "w.PART"'), "w.PART: a name that ends in .part is"),
        (ENTRY.replace('.pth"', '.pth", name = ".lock"'), "mine: name = '.lock': a name has"),
        (ENTRY.replace("https", " https"), "an address must start with http://"),
        (ENTRY.replace("//host", "//[::1"), "is not an address: invalid IPv6 address"),
        (ENTRY.replace("//host", "//host:abc"), "is not an address: invalid port number"),
        (ENTRY.replace("//host", "//ho st"), "is not an address: invalid international domain"),
        (ENTRY.replace("//host", "//"), "mine: https:///vocals-1.pth: has no host"),
        (ENTRY.replace("//host/vocals-1.pth", "//"), "is not an address: empty host"),
        (ENTRY.replace("//host", "//hé..x"), "host's name is empty or too long"),
        (ENTRY.replace("//host", f"//{64 * 'a'}"), "host's name is empty or too long"),
        (ENTRY.replace("//host", "//user:word@host"), "user names and passwords"),
        (ENTRY.replace("//host", "//[u@host"), "user names and passwords"),
        (ENTRY.replace('.pth"', '.pth", size = -5'), "mine: size = -5: write a number from 1"),
        (ENTRY.replace('.pth"', '.pth", size = 0'), "mine: size = 0: write a number from 1"),
        (ENTRY + "parameters = -3", "mine: parameters = -3: write a number from 1"),
        (ENTRY + f"parameters = 1{400 * '0'}", ": write a number from 1"),
        (ENTRY + f"parameters = 1{5000 * '0'}", "is not a TOML file"),
        (ENTRY + "sample_rate = 0", "mine: sample_rate = 0: write a number from 1"),
        (ENTRY + "scores = {vocals = nan}", "mine.scores.vocals: Input should be a finite number"),
        (ENTRY + "scores = {vocals = -inf}", "mine.scores.vocals: Input should be a finite number"),
        (ENTRY + 'scores = {"../v" = 1}', "mine: '../v': a stem's name has"),
        (ENTRY.replace('"vocals"', '"../v"'), "mine: '../v': a stem's name has"),
        (ENTRY.replace('"vocals"', '""'), "mine: '': a stem's name has"),
        (ENTRY.replace('"vocals"', '"vocals", "vocals"'), "mine: two stems have the same name"),
        (f"mine = {10_000 * '['}", "is not a TOML file"),
        (ENTRY.replace('.pth"', '.pth", sha256 = "XYZ"'), "write 8 to 64 digits"),
        (ENTRY.replace('.pth"', '.pth", size = 1.5'), "mine.files.0.size: Input should be"),
        (ENTRY.replace("[mine]", '["../mine"]'), "'../mine': a name has letters"),
        (
            ENTRY.replace("}]", '}, {address = "https://other/vocals-1.pth"}]'),
            "mine: two files have the same name",
        ),
    ],
)
def test_invalid_entry_is_a_one_line_error(own: Path, text: str, message: str) -> None:
    own.write_text(text)
    with pytest.raises(InputError) as refused:
        catalogue.catalogue()
    line = str(refused.value)
    assert line.startswith(f"{own}: ")
    assert message in line
    assert "\n" not in line


def test_name_wins_over_a_folder_and_a_path_over_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "umxhq").mkdir()
    model = catalogue.find("umxhq")
    assert model is not None
    assert model.name == "umxhq"
    for path in ("./umxhq", "umxhq/", str(tmp_path / "umxhq"), Path("umxhq"), "unknown", ""):
        assert catalogue.find(path) is None


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="umxqh: unknown model; did you mean umxhq"):
        catalogue.model("umxqh")
