// The three steps of the page: choose a song, wait for its stems, listen to them.

import { clock, Mixer } from "./mixer.js";

const element = (id) => document.getElementById(id);
const STEPS = ["start", "progress", "result"];
const OPEN_MILLISECONDS = 20000; // interval at which the page tells the server that it is open
const REMEMBERED = "song"; // key of the song that this tab shows, so that a reload shows it again
let limits; // the limits of the server for a song
let mixer = null;
let stop = () => {}; // ends the current step

// Show one step. Move the focus to this step, because the button that was pressed disappears.
function show(step) {
  const changes = element(step).hidden && STEPS.some((id) => !element(id).hidden);
  for (const id of STEPS) element(id).hidden = id !== step;
  if (changes) element({ start: "file", progress: "cancel", result: "play" }[step]).focus();
}

function fail(text) {
  element("error").textContent = text;
  element("error").hidden = !text;
}

function begin(error = "") {
  stop();
  stop = () => {};
  sessionStorage.removeItem(REMEMBERED);
  mixer?.close();
  mixer = null;
  fail(error);
  element("file").value = "";
  choose();
  show("start");
}

function choose() {
  const [song] = element("file").files;
  element("chosen").textContent = song ? song.name : "Drop a song here, or choose a file";
  const tooLarge = song && song.size > limits.megabytes * 1e6;
  element("file").setCustomValidity(tooLarge ? `The file is larger than ${limits.megabytes} MB.` : "");
  if (song) fail(tooLarge ? `${song.name}: is larger than ${limits.megabytes} MB` : "");
}

function describe() {
  element("note").textContent = limits.models[element("model").value];
}

function progress(title, text, fraction) {
  show("progress");
  element("progress-title").textContent = title;
  if (element("status").textContent !== text) element("status").textContent = text;
  if (fraction === null) element("bar").removeAttribute("value");
  else element("bar").value = fraction;
}

function upload(song, model) {
  fail("");
  const request = new XMLHttpRequest(); // fetch does not report the progress of an upload
  const query = new URLSearchParams({ name: song.name, model });
  request.open("POST", `songs?${query}`);
  request.responseType = "json";
  request.upload.onprogress = ({ loaded, total }) => {
    const sent = loaded < total ? `Uploading: ${Math.floor((100 * loaded) / total)} %` : "Checking the song";
    progress(song.name, sent, loaded < total ? loaded / total : null);
  };
  request.onload = () => {
    if (request.status === 201) follow(request.response);
    else begin(request.response?.error ?? `the server refused the song (${request.status})`);
  };
  request.onerror = () => begin("the upload was interrupted; is the server still running?");
  stop = () => request.abort();
  progress(song.name, "Uploading", 0);
  request.send(song);
}

// Follow a song on the server. The open connection also tells the server that the page is open.
function follow(song) {
  sessionStorage.setItem(REMEMBERED, song.id);
  const address = `songs/${song.id}`;
  const events = new EventSource(`${address}/events`);
  let began = null;
  stop = () => {
    events.close();
    fetch(address, { method: "DELETE", keepalive: true });
  };
  const look = (status) => {
    if (status.state === "separating") began ??= { time: performance.now(), fraction: status.fraction };
    if (status.state === "done") {
      events.close();
      finish(status, address);
    } else if (status.state === "failed") {
      begin(status.message);
    } else if (status.state === "cancelled") {
      begin("the separation was cancelled because the page was closed");
    } else {
      progress(status.title, waitingFor(status, began), status.state === "separating" ? status.fraction : null);
    }
  };
  events.onmessage = (event) => look(JSON.parse(event.data));
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) begin("this song is no longer on the server");
    else element("status").textContent = "The connection to the server is interrupted";
  };
  look(song);
}

function waitingFor(status, began) {
  if (status.state === "waiting") {
    const ahead = status.songs_ahead;
    return ahead ? `Waiting: ${ahead} ${ahead === 1 ? "song is" : "songs are"} ahead of yours` : "Waiting";
  }
  if (status.state === "loading") return "Loading the model";
  if (status.state === "drawing") return "Drawing spectrograms";
  const [seconds, done] = [(performance.now() - began.time) / 1000, status.fraction - began.fraction];
  const estimate = done > 0.05 ? `, about ${clock(Math.ceil((seconds / done) * (1 - status.fraction)))} left` : "";
  return `Separating: ${Math.floor(100 * status.fraction)} %${estimate}`;
}

function finish(song, address) {
  // Report that the page is open, because the server may replace songs whose page is closed.
  const opened = setInterval(() => fetch(`${address}/open`).catch(() => {}), OPEN_MILLISECONDS);
  stop = () => {
    clearInterval(opened);
    fetch(address, { method: "DELETE", keepalive: true });
  };
  mixer = new Mixer(song, address, (error) => fail(error.message));
  show("result");
}

async function open() {
  limits = await (await fetch("settings")).json();
  element("model").replaceChildren(...Object.keys(limits.models).map((model) => new Option(model)));
  describe();
  element("limits").textContent = `Maximum length ${clock(limits.seconds)}, maximum size ${limits.megabytes} MB`;
  element("kept").textContent = `The files are removed ${limits.keep_minutes} minutes after their last use. When this page is closed, other songs may replace them earlier.`;
  const id = sessionStorage.getItem(REMEMBERED);
  const response = id && (await fetch(`songs/${encodeURIComponent(id)}`));
  if (response?.ok) follow(await response.json());
  else begin();
}

element("file").onchange = choose;
element("model").onchange = describe;
element("cancel").onclick = () => begin();
element("again").onclick = () => begin();
element("start").onsubmit = (event) => {
  event.preventDefault();
  upload(element("file").files[0], element("model").value);
};
document.ondragover = (event) => event.preventDefault();
document.ondragenter = (event) => element("drop").classList.toggle("over", Boolean(event.dataTransfer));
document.ondragleave = (event) => { if (!event.relatedTarget) element("drop").classList.remove("over"); };
document.ondrop = (event) => {
  event.preventDefault();
  element("drop").classList.remove("over");
  if (element("start").hidden || !event.dataTransfer.files.length) return;
  const song = new DataTransfer(); // the first file only
  song.items.add(event.dataTransfer.files[0]);
  element("file").files = song.files;
  choose();
};
open();
