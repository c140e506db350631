-- Calls once what the directory's scripts call. KEYS[1]: a key for this alone. ARGV[1]: its value.
if redis.replicate_commands then redis.replicate_commands() end
redis.call('INFO', 'replication')
redis.call('HSET', KEYS[1], 'probe', ARGV[1])
redis.call('HGET', KEYS[1], 'probe')
redis.call('HMGET', KEYS[1], 'probe', 'other')
redis.call('HGETALL', KEYS[1])
redis.call('HKEYS', KEYS[1])
redis.call('HLEN', KEYS[1])
redis.call('HEXISTS', KEYS[1], 'probe')
redis.call('HINCRBY', KEYS[1], 'probe', 1)
redis.call('HSCAN', KEYS[1], '0', 'COUNT', 1)
redis.call('HDEL', KEYS[1], 'other')
redis.call('UNLINK', KEYS[1])
return 'ok'
