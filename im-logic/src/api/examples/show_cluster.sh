curl --silent --show-error --cacert "$CA" --header "Authorization: Bearer $TOKEN" \
  "$API/admin/v1/cluster"
