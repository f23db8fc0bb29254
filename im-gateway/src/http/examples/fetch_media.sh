curl --silent --show-error --cacert "$CA" --range 2-5 "$HTTP$DOWNLOAD"
