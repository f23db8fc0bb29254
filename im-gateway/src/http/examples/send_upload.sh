curl --silent --show-error --cacert "$CA" --request PATCH --include \
  --header "Upload-Offset: 0" --data-binary "@$FILE" "$HTTP$UPLOAD"
