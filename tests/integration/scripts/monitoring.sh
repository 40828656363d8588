# A monitoring plugin and a nightly job: queue counts, what is set, which services listen.
postfix start
postconf -M | awk '$2 == "inet" && $8 == "smtpd" { n++ } END { exit n < 2 }'
count=$(postqueue -p | grep -c '^[0-9A-Za-z]' || true)
test "$count" = 0 -o "$count" = 1
queued=$(postqueue -j | wc -l)
test "$queued" = 0
test -d "$(postconf -h queue_directory)"
postconf -n | while IFS= read -r line; do
	name=${line%% =*}
	test "$(postconf "$name")" = "$line"
done
postconf -nf >"$WORK/folded"
test "$(awk '{ if (length($0) > 80 && $0 !~ /^[^ ]+ = [^ ]+$/ && $0 !~ /^    [^ ]+$/) print }' <"$WORK/folded" | wc -l)" = 0
postsuper -d ALL
postfix flush
postfix abort
