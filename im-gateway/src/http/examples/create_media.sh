curl --silent --show-error --cacert "$CA" --header "Authorization: Bearer $TOKEN" \
  --json '{"client_message_id": "'"$MESSAGE_ID"'", "bytes": '"$(wc -c < "$FILE")"',
           "sha256": "'"$(sha256sum "$FILE" | cut -c 1-64)"'",
           "media_type": "image/png", "name": "现场.png"}' \
  "$HTTP/v1/media"
