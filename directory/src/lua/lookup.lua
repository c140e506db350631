local owners, leases = {}, {}
for i = FIRST, #ARGV do
    local found, owner = record_of(ARGV[i]), false
    if found then
        if leases[found.shard] == nil then leases[found.shard] = lease_of(found.shard) or false end
        local lease = leases[found.shard]
        if lease and lease.incarnation == found.incarnation then
            owner = { found.shard, found.incarnation, found.epoch }
        end
    end
    owners[#owners + 1] = owner
end
return { 'bindings', owners }
