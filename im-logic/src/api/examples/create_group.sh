curl --silent --show-error --cacert "$CA" --header "Authorization: Bearer $TOKEN" \
  --json '{"client_message_id": "'"$MESSAGE_ID"'", "name": "北仓库", "members": ["'"$ROBOT"'"]}' \
  "$API/admin/v1/groups"
