curl --silent --show-error --cacert "$CA" --header "Authorization: Bearer $TOKEN" \
  "$HTTP/v1/conversations/$CONVERSATION/messages?after=0&limit=100&wait_ms=20000"
