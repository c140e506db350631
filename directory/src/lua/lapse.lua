local directory, shard, incarnation, seq = unpack(ARGV, FIRST, FIRST + 3)
if directory ~= life then return { 'stale', life } end
local lease = lease_of(shard)
if lease and lease.incarnation == incarnation and lease.seq == seq then
    local heirs = lease.knows
    if HOLD_MS == '0' then heirs = ANYBODY end
    end_life(shard, incarnation, heirs)
end
return { 'done' }
