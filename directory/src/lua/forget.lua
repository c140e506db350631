local directory, shard, incarnation = unpack(ARGV, FIRST, FIRST + 2)
if directory ~= life then return { 'stale', life } end
if call('HDEL', ORPHANS, incarnation .. ' ' .. shard) == 0 then return { 'done' } end
-- From here on its rooms are nobody's; their records go page by page.
sweep('0')
return { 'done' }
