local directory, shard, incarnation, seq = unpack(ARGV, FIRST, FIRST + 3)
if directory ~= life then return { 'stale', life } end
local lease = lease_of(shard)
if lease and lease.incarnation == incarnation and lease.seq == seq then
    -- Who may be an heir, and the version that this makes, which heirs must know.
    local heirs = ANYBODY
    if HOLD_MS ~= '0' then heirs = lease.knows .. ' ' .. next_version() end
    end_life(shard, incarnation, heirs)
end
return { 'done' }
