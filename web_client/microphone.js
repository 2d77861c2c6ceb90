// The user's microphone: permission, choice, and why it cannot be had.

const REASONS = {
  NotAllowedError: "error.micBlocked",
  SecurityError: "error.micBlocked",
  NotFoundError: "error.micMissing",
  OverconstrainedError: "error.micMissing",
  NotReadableError: "error.micBusy",
  AbortError: "error.micBusy",
};

/** Why the microphone cannot be used; `key` names the sentence to show. */
export class MicrophoneError extends Error {
  constructor(key) {
    super(key);
    this.name = "MicrophoneError";
    this.key = key;
  }
}

/** Opens a microphone ("" is the system's choice) with the browser's own echo, noise and gain treatment. */
export async function openMicrophone(deviceId) {
  // Browsers hide mediaDevices on plain http pages that are not localhost.
  if (!navigator.mediaDevices) throw new MicrophoneError("error.micInsecure");
  const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
  if (deviceId) audio.deviceId = { exact: deviceId };
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    return stream.getAudioTracks()[0];
  } catch (error) {
    throw new MicrophoneError(REASONS[error.name] ?? "error.micBusy");
  }
}

/** The microphones [{id, label}]; empty until the user has given permission, because labels are hidden before. */
export async function listMicrophones() {
  if (!navigator.mediaDevices) return [];
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices
    .filter(({ kind, label, deviceId }) => kind === "audioinput" && label && deviceId)
    .map(({ deviceId, label }) => ({ id: deviceId, label }));
}

/** Calls `listener` when a microphone is plugged in or out. */
export function onMicrophonesChange(listener) {
  navigator.mediaDevices?.addEventListener("devicechange", listener);
}
