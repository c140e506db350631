-- Arguments: id, then "a|d weight url", of each shard; at least one, each once.
local listed, count = {}, 0
for i = FIRST, #ARGV, 2 do
    listed[ARGV[i]] = ARGV[i + 1]
    count = count + 1
end
local before = call('HGETALL', TOPOLOGY)
local same = #before == 2 * count
for i = 1, #before, 2 do
    if listed[before[i]] ~= before[i + 1] then same = false end
end
if not same then
    call('UNLINK', TOPOLOGY)
    for shard, text in pairs(listed) do call('HSET', TOPOLOGY, shard, text) end
    call('HINCRBY', DIR, 'generation', 1)
    new_version()
    for _, shard in ipairs(call('HKEYS', DRAINS)) do
        if not listed[shard] then call('HDEL', DRAINS, shard) end
    end
    -- The operator says that they do not exist any more. One that had its lease when it was removed is
    -- not meant: it may have gone on without one since.
    local removed = {}
    for i = 1, #before, 2 do
        if not listed[before[i]] then removed[before[i]] = true end
    end
    for _, orphan in ipairs(call('HKEYS', ORPHANS)) do
        if removed[string.match(orphan, '^%d+ (.*)$')] then
            call('HSET', ORPHANS, orphan, ANYBODY)
        end
    end
end
return { 'announced', life, call('HGET', DIR, 'generation') or '0' }
