-- SPDX-License-Identifier: MIT
-- Writes what wrk counted as JSON to $WRK_RESULT, errors included when there are none; p99 in microseconds.
-- The threads share the servers of $WRK_SERVERS, addresses, or where there are none all ask the URL's. Each connection
-- waits for $WRK_PAUSE_MS milliseconds, if given, between an answer and its next request.
local servers, threads, pause = {}, 0, tonumber(os.getenv("WRK_PAUSE_MS") or "")
for server in (os.getenv("WRK_SERVERS") or ""):gmatch("%S+") do table.insert(servers, server) end

function setup(thread)
    if #servers == 0 then return end
    thread.addr = wrk.lookup(servers[threads % #servers + 1], wrk.port or "http")[1]
    threads = threads + 1
end

-- wrk calls it for every request if it is there.
if pause then delay = function() return pause end end

function done(summary, latency)
    local errors = summary.errors
    local file = assert(io.open(os.getenv("WRK_RESULT"), "w"))
    file:write(string.format('{"requests":%d,"microseconds":%d,"p99":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}\n',
        summary.requests, summary.duration, latency:percentile(99), errors.connect, errors.read, errors.write, errors.timeout,
        errors.status))
    file:close()
end
