curl --silent --show-error --cacert "$CA" --request POST "$HTTP$UPLOAD"
