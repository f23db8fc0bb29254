curl --silent --show-error --cacert "$CA" --header "Authorization: Bearer $TOKEN" \
  --json '{"client_message_id": "'"$MESSAGE_ID"'", "add": ["'"$ROBOT"'"], "role": "observer"}' \
  "$API/admin/v1/groups/$GROUP/members"
