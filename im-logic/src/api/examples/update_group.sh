curl --silent --show-error --cacert "$CA" --header "Authorization: Bearer $TOKEN" \
  --request PATCH \
  --json '{"client_message_id": "'"$MESSAGE_ID"'", "name": "南仓库", "set": {"区": "B 区"}}' \
  "$API/admin/v1/groups/$GROUP"
