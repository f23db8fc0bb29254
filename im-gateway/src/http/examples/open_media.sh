curl --silent --show-error --cacert "$CA" --header "Authorization: Bearer $TOKEN" \
  "$HTTP/v1/conversations/$CONVERSATION/messages/$SEQUENCE/media"
