// onnxruntime 1.30 keeps a database of what it runs in the user's home, and sends it to its makers, unless this is set before its
// first session. That also takes 45 ms from the start of each process.
process.env.ORT_DISABLE_TELEMETRY ??= '1'
