curl --silent --show-error --no-buffer --cacert "$CA" --header "Authorization: Bearer $TOKEN" \
  --header "Last-Event-ID: 0" "$HTTP/v1/conversations/$CONVERSATION/events"
