"""A network learns an overdriven amplifier from what goes in and what comes out.

The amplifier distorts, and its loudspeaker has a memory of a few samples. The network takes the
last 16 samples and gives one; it learns from a second of noise-like sound and is heard on a plucked
string. `predictor()` answers sample by sample, faster than they come.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastmlp

RATE, WINDOW = 16_000, 16  # samples a second; samples that the network sees


def amplify(sound: Any) -> Any:
    """Return the true amplifier's output: distortion, then a filter that remembers."""
    driven, output = np.tanh(4 * sound + 0.3) - np.tanh(0.3), np.zeros_like(sound)
    for k in range(1, len(sound)):
        output[k] = 0.6 * output[k - 1] + 0.4 * driven[k]
    return output


def windows(sound: Any) -> Any:
    """Return the last samples at each time, one row for each."""
    padded = np.concatenate([np.zeros(WINDOW - 1), sound])
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW)


def main() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    noise = np.convolve(rng.normal(size=RATE), np.ones(8) / 8, "same")
    net = fastmlp.MLP([WINDOW, 32, 1], activation="tanh", rng=0)
    net.fit(windows(noise), amplify(noise))
    t = np.arange(RATE // 4) / RATE
    string = sum(np.sin(2 * np.pi * 110 * k * t) * np.exp(-8 * k * t) / k for k in range(1, 6)) / 2
    truth, played = amplify(string), net.predict(windows(string))
    error = float(np.sum((played - truth) ** 2) / np.sum(truth**2))
    print(f"on a plucked string the error is {-10 * np.log10(error):.0f} dB below the sound")
    predict, last = net.predictor(), np.zeros(WINDOW, dtype=np.float32)
    for k, sample in enumerate(string[:200]):  # an audio callback would do the same
        last[:-1], last[-1] = last[1:], sample
        assert abs(predict(last) - played[k]) < 1e-5
    return {"error": error, "string": string, "truth": truth, "played": played}


if __name__ == "__main__":
    main()
