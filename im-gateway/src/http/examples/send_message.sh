curl --silent --show-error --cacert "$CA" --header "Authorization: Bearer $TOKEN" \
  --json '{"conversation_id": "'"$CONVERSATION"'", "client_message_id": "'"$MESSAGE_ID"'",
           "content": {"kind": "text", "text": "三号托盘在 B 区"}}' \
  "$HTTP/v1/messages"
