curl --silent --show-error --cacert "$CA" --header "Authorization: Bearer $TOKEN" \
  --json '{"key": "'"$MESSAGE_ID"'/1/1", "action": "sweep", "arguments": {"区": "B"},
           "robots": ["'"$ROBOT"'"], "within_ms": 60000}' \
  "$API/admin/v1/commands"
