// Plays all stems of a song in sync. The samples arrive in pieces of two seconds, and each piece of
// each stem is scheduled on the clock of one AudioContext, exact to the sample. (Media elements
// drift apart by tens of milliseconds, which is audible as an echo; decoding whole songs takes
// 20 MB of memory per stem and minute.) The browser only holds a few seconds of the song.

const AHEAD_SECONDS = 8; // how far ahead of the playback position to schedule pieces
const MARGIN_SECONDS = 1; // playback waits while less than this is scheduled ahead of the position
const LEAD_SECONDS = 0.05; // time between scheduling the first piece and hearing it
const RAMP_SECONDS = 0.015; // faster changes of the level would click
const TICK_MILLISECONDS = 100;

export class Player {
  // song: sample_rate, channels, frames, piece_frames and the list of stems.
  // load(number): promise of the samples of a piece, a Float32Array (stem, channel, time).
  // failed(error): called when a piece cannot be loaded.
  constructor(song, load, failed) {
    this.song = song;
    this.load = load;
    this.failed = failed;
    this.duration = song.frames / song.sample_rate;
    this.gains = [0, ...song.stems.map(() => 1)]; // the mixture, then the stems
    this.wanted = false; // the user wants to hear the song
    this.start = 0; // where playback began, in seconds of the song
    this.origin = null; // time of the context that corresponds to the start of the song
    this.next = 0; // the piece to schedule next
    this.sources = new Set();
    this.seeks = 0;
  }

  get position() {
    if (this.origin === null) return this.start;
    const position = this.context.currentTime - this.origin;
    return Math.min(Math.max(position, this.start), this.duration);
  }

  get waiting() {
    return this.wanted && !this.ready;
  }

  // The position up to which the song is scheduled, in seconds.
  get scheduled() {
    if (this.origin === null) return this.start;
    return Math.min((this.next * this.song.piece_frames) / this.song.sample_rate, this.duration);
  }

  get ready() {
    if (this.origin === null) return false;
    return this.scheduled >= this.duration || this.scheduled - this.position > MARGIN_SECONDS;
  }

  // Browsers allow sound only after a click or a key, so the first call must follow such an event.
  play() {
    if (!this.context) this.open();
    this.wanted = true;
    this.tick();
  }

  pause() {
    this.wanted = false;
    this.tick();
  }

  seek(seconds) {
    const { sample_rate, piece_frames, frames } = this.song;
    const frame = Math.round(Math.min(Math.max(seconds, 0), this.duration) * sample_rate);
    for (const source of this.sources) source.stop();
    this.sources.clear();
    this.seeks += 1;
    this.start = frame / sample_rate;
    this.origin = null;
    this.next = Math.floor(Math.min(frame, frames - 1) / piece_frames);
    this.tick();
  }

  // number: 0 is the mixture, 1 the first stem.
  setGain(number, gain) {
    this.gains[number] = gain;
    if (!this.context) return;
    this.channels[number].gain.gain.setTargetAtTime(gain, this.context.currentTime, RAMP_SECONDS);
  }

  // The current peak of a track after its gain, in dB; -Infinity in silence.
  peak(number) {
    if (!this.context || this.context.state !== "running") return -Infinity;
    const { analyser, samples } = this.channels[number];
    analyser.getFloatTimeDomainData(samples);
    return 20 * Math.log10(samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0));
  }

  close() {
    clearInterval(this.timer);
    this.seeks += 1;
    this.context?.close();
  }

  open() {
    try {
      this.context = new AudioContext({ sampleRate: this.song.sample_rate });
    } catch {
      this.context = new AudioContext(); // the browser resamples, as it does not support the rate
    }
    this.channels = this.gains.map((level) => {
      const gain = new GainNode(this.context, { gain: level });
      const analyser = new AnalyserNode(this.context, { fftSize: 2048 });
      gain.connect(analyser).connect(this.context.destination);
      return { gain, analyser, samples: new Float32Array(analyser.fftSize) };
    });
    this.timer = setInterval(() => this.tick(), TICK_MILLISECONDS);
  }

  tick() {
    if (!this.context || this.context.state === "closed") return;
    if (this.origin !== null && this.position >= this.duration) {
      this.wanted = false;
      this.seek(0);
      return;
    }
    if (this.wanted) this.fill();
    // The clock stops while the player is paused or waits for samples.
    if (this.wanted && this.ready) this.context.resume();
    else this.context.suspend();
  }

  async fill() {
    if (this.filling) return;
    this.filling = true;
    try {
      const pieces = Math.ceil(this.song.frames / this.song.piece_frames);
      while (this.next < pieces && this.scheduled - this.position < AHEAD_SECONDS) {
        const { seeks, next } = this;
        const samples = await this.load(next);
        if (this.context.state === "closed") return;
        if (seeks !== this.seeks) continue; // the user has moved to another position
        this.schedule(next, samples);
        this.next += 1;
        this.tick();
      }
    } catch (error) {
      this.wanted = false;
      this.failed(error);
    } finally {
      this.filling = false;
    }
  }

  schedule(number, samples) {
    const { sample_rate, channels, piece_frames, stems } = this.song;
    const first = (number * piece_frames) / sample_rate;
    if (this.origin === null) {
      // A whole number of samples, so that the pieces follow each other without a gap.
      const rate = this.context.sampleRate;
      const now = Math.ceil((this.context.currentTime + LEAD_SECONDS) * rate) / rate;
      this.origin = now - this.start;
    }
    const skipped = Math.max(0, this.start - first);
    const frames = samples.length / (stems.length * channels);
    stems.forEach((_, stem) => {
      const buffer = new AudioBuffer({ numberOfChannels: channels, length: frames, sampleRate: sample_rate });
      for (let channel = 0; channel < channels; channel += 1) {
        const begin = (stem * channels + channel) * frames;
        buffer.copyToChannel(samples.subarray(begin, begin + frames), channel);
      }
      const source = new AudioBufferSourceNode(this.context, { buffer });
      source.connect(this.channels[stem + 1].gain);
      source.connect(this.channels[0].gain); // the stems sum to the mixture
      source.onended = () => this.sources.delete(source);
      source.start(this.origin + first + skipped, skipped);
      this.sources.add(source);
    });
  }
}
