"""The one script by which workers share an endpoint's limits; `limits` explains the rules.

KEYS: the endpoint's state, its holders. State fields: cap (concurrency now), w_ok, w_thr, w_at
(window of adaptation), thr_run (throttled in a row), fails (points of failures in a row), since
(of the first of them), open_until, open_for, prober, probe_till (breaker), closed, req, tok (times
up to which the endpoint is closed, and the buckets are full).
Answers: places, permits, seconds to wait, cap, breaker open, seconds of failures.
"""

SYNC = """
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local me = ARGV[1]
local in_use, wanted, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local lease, req_cost, permits_wanted = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local burst, trip, probe_lease = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local ok, thr, bad = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local thr_last, bad_last = tonumber(ARGV[14]), tonumber(ARGV[15])
local retry_after, close_for, spent = tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[18])

local s, prober = {}, ''
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  if flat[i] == 'prober' then prober = flat[i + 1] else s[flat[i]] = tonumber(flat[i + 1]) end
end
local function of(name) return s[name] or 0 end
local cap = math.min(s.cap or limit, limit)

if ok > 0 then
  s.thr_run, s.fails = thr_last, bad_last
  s.since = bad_last > 0 and now or 0
  s.open_until, s.open_for, s.probe_till, prober = 0, 0, 0, ''
else
  s.thr_run, s.fails = of('thr_run') + thr, of('fails') + bad
  if bad > 0 and of('since') == 0 then s.since = now end
end

s.w_ok, s.w_thr = of('w_ok') + ok, of('w_thr') + thr
if of('w_at') == 0 then s.w_at = now end
local n = s.w_ok + s.w_thr
local full_window = math.max(20, math.min(100, 2 * cap))
if n >= full_window or (s.w_ok == 0 and s.w_thr >= 8) or (n > 0 and now - s.w_at > 5) then
  local share = s.w_thr / n
  if share > 0.15 and s.w_thr >= 3 then
    cap = math.max(1, math.floor(cap * 0.7))
  elseif share < 0.08 then
    cap = math.min(limit, cap + math.max(1, math.floor(limit / 10)))
  end
  s.w_ok, s.w_thr, s.w_at = 0, 0, now
end
s.cap = cap

if retry_after > 0 and s.thr_run >= math.min(3, cap + 1) then
  s.closed = math.max(of('closed'), now + retry_after)
end
if close_for > 0 then s.closed = math.max(of('closed'), now + close_for) end
if spent > 0 then s.tok = math.max(of('tok'), now) + spent end

if bad > 0 and ok == 0 then
  if of('open_until') > 0 then
    if now >= s.open_until and prober == me then
      s.open_for = math.min(30, s.open_for * 2)
      s.open_until, s.probe_till, prober = now + s.open_for, 0, ''
    end
  elseif s.fails >= trip then
    s.open_for, s.open_until = 1, now + 1
  end
end

local others, workers, wants = 0, {}, {}
flat = redis.call('HGETALL', KEYS[2])
for i = 1, #flat, 2 do
  if flat[i] ~= me then
    local held, want, till = string.match(flat[i + 1], '([^|]+)|([^|]+)|([^|]+)')
    if tonumber(till) < now then
      redis.call('HDEL', KEYS[2], flat[i])
    else
      others = others + tonumber(held)
      if tonumber(want) > 0 then
        wants[#wants + 1] = tonumber(want)
        workers[#workers + 1] = flat[i]
      end
    end
  end
end

local granted, wait, permits, open = in_use, 0, 0, 0
if of('open_until') > now then
  open, wait = 1, s.open_until - now
elseif of('closed') > now then
  wait = s.closed - now
elseif of('tok') - now > burst then
  wait = s.tok - now - burst
elseif of('open_until') > 0 then
  open = 1
  if wanted > in_use and (prober == '' or of('probe_till') < now) then
    prober, s.probe_till = me, now + probe_lease
    granted = in_use + 1
  else
    wait = 0.3
  end
else
  local target = wanted
  if wanted > 0 then
    wants[#wants + 1] = wanted
    workers[#workers + 1] = me
    if #workers > cap then
      -- More workers than places: they take turns of a second.
      table.sort(workers)
      local turn, place = math.floor(now) % #workers, 0
      for i, name in ipairs(workers) do if name == me then place = i - 1 end end
      if (place + turn) % #workers >= cap then target = 0 else target = 1 end
    else
      table.sort(wants)
      local left, share = cap, cap
      for i, want in ipairs(wants) do
        local fair = left / (#wants - i + 1)
        if want > fair then share = fair break end
        left = left - want
      end
      target = math.min(wanted, math.ceil(share))
    end
  end
  granted = math.min(target, math.max(0, cap - others))
end
local held = math.max(in_use, granted)

if req_cost > 0 and wait == 0 then
  local full = math.max(of('req'), now)
  local room = 0
  if full - now <= burst then room = math.floor((burst - (full - now)) / req_cost) + 1 end
  permits = math.max(0, math.min(room, permits_wanted, granted - in_use))
  if permits > 0 then
    s.req = full + permits * req_cost
  elseif room == 0 and permits_wanted > 0 then
    wait = full - now - burst
  end
end

local save = {}
for name, value in pairs(s) do
  save[#save + 1] = name
  save[#save + 1] = string.format('%.6f', value)
end
save[#save + 1] = 'prober'
save[#save + 1] = prober
redis.call('HSET', KEYS[1], unpack(save))
redis.call('EXPIRE', KEYS[1], 600)
if wanted > 0 or in_use > 0 then
  local till = string.format('%.6f', now + lease)
  redis.call('HSET', KEYS[2], me, held .. '|' .. wanted .. '|' .. till)
  redis.call('EXPIRE', KEYS[2], 600)
else
  redis.call('HDEL', KEYS[2], me)
end
local down = 0
if of('since') > 0 and of('fails') > 0 then down = now - s.since end
return granted .. ' ' .. permits .. ' ' .. string.format('%.6f', wait) .. ' ' .. cap .. ' ' .. open
  .. ' ' .. string.format('%.3f', down)
"""
