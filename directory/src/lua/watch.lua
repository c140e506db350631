local cursor = call('HGET', DIR, 'sweep')
if cursor then sweep(cursor) end
return {
    'view', life, grace and '1' or '0', HOLD_MS, call('HGET', DIR, 'generation') or '0',
    call('HGETALL', TOPOLOGY), call('HGETALL', DRAINS), call('HGETALL', LEASES),
    call('HKEYS', ORPHANS),
}
