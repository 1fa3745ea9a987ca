"""The HTTP answer of a failed OpenAI call, from the error that the engine puts into its trailers."""

from __future__ import annotations

from enginehouse.gateway.translate.names import OPENAI_ERROR_HEADER

# Runs on the response before it is turned into JSON, on the routes of OpenAI calls that came as JSON. A call that fails
# before its first message answers with headers alone, and those hold the trailers' entries. The work is one look-up
# unless the call failed. A value that cannot be read is left alone: the client then gets the status as our JSON.
OPENAI_ERRORS_LUA = f"""
local HEADER = "{OPENAI_ERROR_HEADER}"
local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
local VALUES = {{}}
for i = 1, #ALPHABET do VALUES[ALPHABET:byte(i)] = i - 1 end

local function decode(text)
  local bytes, bits, held = {{}}, 0, 0
  for i = 1, #text do
    local value = VALUES[text:byte(i)]
    if value == nil then return nil end
    held = held * 64 + value
    bits = bits + 6
    if bits >= 8 then
      bits = bits - 8
      local unit = 2 ^ bits
      local byte = math.floor(held / unit)
      bytes[#bytes + 1] = string.char(byte)
      held = held - byte * unit
    end
  end
  return table.concat(bytes)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local value = headers:get(HEADER)
  if value == nil then return end
  local status, encoded = value:match("^([45]%d%d);([%w_-]+)=*$")
  if status == nil then return end
  local body = decode(encoded)
  if body == nil then return end
  handle:body(true):setBytes(body)
  headers:replace(":status", status)
  headers:replace("content-type", "application/json")
  headers:replace("content-length", tostring(#body))
  headers:remove("grpc-status")
  headers:remove("grpc-message")
  headers:remove("grpc-status-details-bin")
  headers:remove(HEADER)
end
"""
