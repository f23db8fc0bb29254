curl --silent --show-error --cacert "$CA" --header "Authorization: Bearer $TOKEN" \
  --json '{"client_message_id": "'"$MESSAGE_ID"'", "roles": {"'"$ROBOT"'": "member"}}' \
  "$API/admin/v1/groups/$GROUP/roles"
