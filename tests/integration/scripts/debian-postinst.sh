# In the manner of a package's maintainer script: parameters with odd values, tables, a restart.
config_directory=$(postconf -h config_directory)
cd "$config_directory"
for parameter in myhostname mydomain myorigin mydestination relayhost mynetworks mailbox_size_limit \
	recipient_delimiter inet_interfaces inet_protocols alias_maps alias_database queue_directory \
	daemon_directory command_directory data_directory mail_owner setgid_group mail_version \
	default_database_type sendmail_path newaliases_path mailq_path; do
	value=$(postconf -h "$parameter" 2>/dev/null)
	name=$(postconf "$parameter" 2>/dev/null)
	case $name in
	"$parameter ="*) ;;
	*) echo "no answer about $parameter: $name"; exit 1 ;;
	esac
	test "$name" = "$parameter =${value:+ $value}"
done
test "$(postconf -d -h relayhost)" = ""
postconf -e "relayhost=" "recipient_delimiter=+" 'smtpd_banner=$myhostname ESMTP $mail_name (Debian/GNU)'
test "$(postconf -n -h recipient_delimiter)" = +
test "$(postconf -xh smtpd_banner | grep -c ESMTP)" = 1

# Comment out and remove, as an upgrade does with what is gone.
postconf -e "old_name=1"
postconf -# old_name 2>/dev/null
grep -q "^#old_name = 1" main.cf
postconf -X recipient_delimiter
test -z "$(postconf -n recipient_delimiter)"

type=$(postconf -h default_database_type)
postconf -m | grep -qx "$type"
printf 'postmaster: root\nroot: alice@example.test\n' >"$WORK/aliases"
postalias "$type:$WORK/aliases"
test "$(postalias -q postmaster "$type:$WORK/aliases")" = root
printf 'old@example.test alice@example.test\n' >"$WORK/virtual"
postmap "$type:$WORK/virtual"
test "$(postmap -q old@example.test "$type:$WORK/virtual")" = alice@example.test

postfix set-permissions
postfix upgrade-configuration
postfix start
postfix status 2>/dev/null
postfix reload
postfix flush

postqueue -p | grep -q "Mail queue is empty"
mailq | grep -q "Mail queue is empty"
postfix stop
if postfix status 2>/dev/null; then exit 1; fi
