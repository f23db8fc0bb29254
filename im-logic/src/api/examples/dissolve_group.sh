curl --silent --show-error --cacert "$CA" --header "Authorization: Bearer $TOKEN" \
  --json '{"client_message_id": "'"$MESSAGE_ID"'"}' \
  "$API/admin/v1/groups/$GROUP/dissolve"
