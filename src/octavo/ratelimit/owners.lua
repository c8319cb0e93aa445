-- owners.lua: which rules have a list or a sorted set of their own

-- Return the keys given, by kind and name of the rule, and the rules stored whose keys were not.
local function owners(stored, keys, names)
  local own, missing = {}, {}
  for i, name in ipairs(names) do
    own[name] = keys[i + 1]
  end
  for _, rule in ipairs(stored) do
    if APART[rule.kind] and not own[rule.kind .. rule.name] then
      missing[#missing + 1] = { rule.kind, rule.name }
    end
  end
  return own, missing
end
