curl --silent --show-error --cacert "$CA" --header "Authorization: Bearer $TOKEN" \
  "$HTTP/v1/media"
