if ARGV[FIRST] ~= life then return { 'stale', life } end
if grace then
    call('HSET', DIR, 'grace', '0')
    call('UNLINK', STOPPED)
end
return { 'done' }
