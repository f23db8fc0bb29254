curl --silent --show-error --cacert "$CA" --header "Authorization: Bearer $TOKEN" \
  --json '{"key": "'"$COMMAND"'", "reason": "不用了"}' \
  "$API/admin/v1/command/cancel"
