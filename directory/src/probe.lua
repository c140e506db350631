-- Calls once what the directory's scripts call. KEYS[1]: a key for this alone. ARGV[1]: its value.
if redis.replicate_commands then redis.replicate_commands() end
redis.call('INFO', 'server')
redis.call('INFO', 'replication')
redis.call('HSET', KEYS[1], 'probe', ARGV[1])
redis.call('HGET', KEYS[1], 'probe')
redis.call('HGETALL', KEYS[1])
redis.call('HLEN', KEYS[1])
redis.call('HDEL', KEYS[1], 'probe')
redis.call('EXISTS', KEYS[1])
redis.call('SET', KEYS[1], '1')
redis.call('INCRBY', KEYS[1], '1')
redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
return 'ok'
