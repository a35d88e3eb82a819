-- SPDX-License-Identifier: MIT
-- Writes what wrk counted as JSON to $WRK_RESULT, errors included when there are none.
function done(summary)
    local errors = summary.errors
    local file = assert(io.open(os.getenv("WRK_RESULT"), "w"))
    file:write(string.format('{"requests":%d,"microseconds":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}\n',
        summary.requests, summary.duration, errors.connect, errors.read, errors.write, errors.timeout, errors.status))
    file:close()
end
