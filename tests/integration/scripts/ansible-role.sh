# What an Ansible role for Postfix runs: ask, set only what differs, check, reload when changed.
conf=$(postconf -h config_directory)
test -f "$conf/main.cf"

changed=no
set_parameter() {
	if [ "$(postconf -h "$1")" != "$2" ]; then
		postconf -e "$1 = $2"
		changed=yes
	fi
}
set_parameter compatibility_level 3.6
set_parameter inet_protocols ipv4
set_parameter message_size_limit 20480000
set_parameter smtpd_client_restrictions "permit_mynetworks, permit"
test "$changed" = yes
test "$(postconf -h message_size_limit)" = 20480000

# A second run finds nothing to do, and the file is the same to the byte.
before=$(cksum <"$conf/main.cf")
changed=no
set_parameter message_size_limit 20480000
set_parameter smtpd_client_restrictions "permit_mynetworks, permit"
test "$changed" = no
test "$(cksum <"$conf/main.cf")" = "$before"

# Services: the module replaces an entry as a whole and looks at it again.
postconf -M 2525/inet="2525 inet n - n - - smtpd"
postconf -P "2525/inet/syslog_name=postfix/extra"
test "$(postconf -Mf 2525/inet | wc -l)" = 2
test "$(postconf -h -P 2525/inet/syslog_name)" = postfix/extra
postconf -F "2525/inet/process_limit=3"
test "$(postconf -h -F 2525/inet/process_limit)" = 3
postconf -MX 2525/inet
test -z "$(postconf -M 2525/inet 2>/dev/null)"

postfix check
