curl --silent --show-error --cacert "$CA" --head "$HTTP$UPLOAD"
