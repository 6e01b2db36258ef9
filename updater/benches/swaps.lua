-- What wrk saw, as one line of JSON: every error and every answer but 200 is a failed request.
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"failed":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,"p50-ms":%.2f,"p99-ms":%.2f,"worst-ms":%.1f}\n',
    summary.requests, e.connect + e.read + e.write + e.status + e.timeout,
    e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
