// The result of a separation: playback controls, and a track for the mixture and for each stem.

import { Player } from "./player.js";

const element = (id) => document.getElementById(id);

export function clock(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export class Mixer {
  // song: the status of a separated song; address: where its files are; failed: shows an error.
  constructor(song, address, failed) {
    this.player = new Player(song, (number) => this.piece(`${address}/pieces/${number}`), failed);
    this.tracks = ["mixture", ...song.stems].map((name, number) => this.track(name, number, address));
    element("tracks").replaceChildren(...this.tracks.map((track) => track.row));
    element("title").textContent = song.title;
    element("notes").textContent = song.message;
    element("notes").hidden = !song.message;
    const [lowest, highest] = song.hertz.map((hertz) => (hertz < 1000 ? `${hertz}\u00a0Hz` : `${hertz / 1000}\u00a0kHz`));
    element("scale").textContent = `${lowest} at the bottom, ${highest} at the top`;
    element("archive").href = `${address}/archive`;
    element("seek").max = this.player.duration;
    element("duration").textContent = clock(this.player.duration);
    element("play").onclick = () => this.toggle();
    element("seek").oninput = () => this.player.seek(Number(element("seek").value));
    document.onkeydown = (event) => this.key(event);
    this.mix();
    this.draw();
  }

  close() {
    this.player.close();
    cancelAnimationFrame(this.frame);
    document.onkeydown = null;
  }

  async piece(address) {
    const response = await fetch(address);
    if (!response.ok) throw new Error((await response.json()).error);
    return new Float32Array(await response.arrayBuffer());
  }

  track(name, number, address) {
    const row = element("track").content.firstElementChild.cloneNode(true);
    const part = (selector) => row.querySelector(selector);
    const track = { row, mute: part(".mute"), solo: part(".solo"), level: part(".level"), meter: part(".meter") };
    part(".name").textContent = name;
    part("img").src = `${address}/spectrograms/${number}`;
    part("img").alt = `Spectrogram of ${name}`;
    track.level.ariaLabel = `Level of ${name}`;
    track.meter.ariaLabel = `Peak level of ${name}`;
    track.solo.ariaLabel = track.solo.title = `Solo ${name}`;
    track.mute.ariaLabel = track.mute.title = `Mute ${name}`;
    if (number) {
      part(".download").href = `${address}/stems/${number - 1}`;
      part(".download").ariaLabel = `Download ${name}`;
    } else {
      track.solo.title = "Hear the mixture instead of the stems";
      track.mute.remove();
      part(".download").remove();
    }
    for (const button of [track.mute, track.solo]) {
      button.onclick = () => {
        button.ariaPressed = String(button.ariaPressed !== "true");
        this.mix(button === track.solo ? number : null);
      };
    }
    track.level.oninput = () => this.mix();
    this.seekable(part(".spectrogram"));
    return track;
  }

  // Set the gains. The mixture is audible only when soloed, since it already contains the stems.
  // `soloed` is the track whose solo button was pressed.
  mix(soloed = null) {
    const pressed = (button) => button.ariaPressed === "true";
    const [mixture, ...stems] = this.tracks;
    if (soloed === 0) for (const stem of stems) stem.solo.ariaPressed = "false";
    else if (soloed !== null) mixture.solo.ariaPressed = "false";
    const alone = this.tracks.some((track) => pressed(track.solo));
    this.tracks.forEach((track, number) => {
      const heard = alone ? pressed(track.solo) : number > 0 && !pressed(track.mute);
      const level = Number(track.level.value) / 100;
      this.player.setGain(number, heard ? level * level : 0);
      track.level.setAttribute("aria-valuetext", level ? `${(40 * Math.log10(level)).toFixed(1)} dB` : "silent");
      track.row.classList.toggle("silent", !heard && (alone || number > 0));
    });
  }

  seekable(picture) {
    const seek = (event) => {
      const { left, width } = picture.getBoundingClientRect();
      this.player.seek(((event.clientX - left) / width) * this.player.duration);
    };
    picture.onpointerdown = (event) => {
      if (event.pointerType === "mouse") picture.setPointerCapture(event.pointerId);
    };
    picture.onpointermove = (event) => {
      if (picture.hasPointerCapture(event.pointerId)) seek(event);
    };
    picture.onclick = seek;
  }

  toggle() {
    if (this.player.wanted) this.player.pause();
    else this.player.play();
  }

  key(event) {
    if (event.key !== " " || event.target.closest("button, a, select")) return;
    event.preventDefault();
    this.toggle();
  }

  draw() {
    const { player } = this;
    const { position, wanted } = player;
    element("time").textContent = clock(position);
    element("seek").value = position;
    element("seek").setAttribute("aria-valuetext", `${clock(position)} of ${clock(player.duration)}`);
    element("tracks").style.setProperty("--position", position / player.duration);
    element("play").ariaLabel = wanted ? "Pause" : "Play";
    element("play").classList.toggle("playing", wanted);
    element("play").classList.toggle("waiting", player.waiting);
    this.tracks.forEach((track, number) => { track.meter.value = Math.max(-60, player.peak(number)); });
    this.frame = requestAnimationFrame(() => this.draw());
  }
}
