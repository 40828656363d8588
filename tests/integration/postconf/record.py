#!/usr/bin/python3
"""Records what postconf says about the configurations here: record.py ROOT

ROOT is where Debian's postfix package (3.7) was unpacked: `apt-get download postfix && dpkg -x
postfix_*.deb ROOT`. Nothing has to be installed. test_postconf.py replays expected.json.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent

HUB = """
-n | -nf | -nx | -h myhostname mydomain | nosuch | -x smtpd_banner foo | -H myhostname | -C user
-f smtpd_recipient_restrictions | -C service -n | -C builtin mydomain | -o mydomain=x.org -x myorigin
-dn | -e | -X | -eX a=b | -n mydomain inet_interfaces nosuch | -M | -Mf | -M mailman submission/inet
-M nosuch | -M */inet | -F submission | -F */inet/command | -F smtp/inet/chroot smtp/unix
-F a/b/c | -Fh smtp/inet/chroot | -FH smtp/inet/chroot | -P | -P submission/inet/syslog_name
-P submission/inet | -P */inet/smtpd_tls_security_level | -Ph submission/inet/syslog_name
-PH submission/inet/syslog_name | -Px submission/inet/smtpd_bogus2 | -Pf submission | -Fx mailman
-Ff mailman/unix/command | -Mx mailman | -Mxf | -P nosuch/inet/x | -P a/b/c/d | -M a/b/c | -Mn | -Md
-Mh | -MF | -h nosuch mydomain | -hH mydomain | -C bogus | -d foo | -F a/b/c/d | -pM | -am | -nX a
-Xo a=b a | -mn | -lh | -P# a/b/c | -MX | -FMP | -M# -e a | -ef a=b | -ex a=b | -l | -A
-T public-key-algorithms | myorigin mydomain=foo | -d smtpd_milters mydestination relayhost
-o foo myorigin | myorigin myorigin | -M smtp smtp/inet | insiders guests | -h smtp_destination_rate_delay
mydomain=foo | mydomain=foo myorigin | -e smtpd_recipient_restrictions=permit | -e =c
-X mydomain smtpd_recipient_restrictions | -X foo nosuch | -X mydomain=foo | -X nosuch
-# mydomain smtpd_recipient_restrictions | -# nosuch | -e a=1 a=2 | -ev c=d | -M# submission/inet
-M# submission | -MX submission/inet | -MX smtp/unix nosuch/unix | -MX */unix | -Fe smtp/unix/type=inet
-Fe smtp/unix/process_limit=xx | -Fe nosuch/unix/chroot=n | -Fe smtp/unix=n | -FX smtp/unix/chroot
-Pe submission/inet/smtpd_tls_security_level=may | -Pe submission/inet/smtpd_client_restrictions=permit
-Pe submission/inet/x= | -PX submission/inet/smtpd_client_restrictions submission/inet/syslog_name
-PX submission/inet/nosuch | -Pe nosuch/inet/a=b | -Pe scalemail-backend/unix/a=b | -Pe submission/a=b
-Fe uucp/unix/unprivileged=-
"""
HUB_MORE = [
    ["-e", "mydomain = x.org", "new1=a b"], ["-e", "a b=c"], ["-e", "# x=c"], ["-e", "mydomain=a\nb"],
    ["-e", "a= 1\t2    3  "],
    ["-Me", "submission/inet=submission inet n - n - - smtpd -o a=b -o { c = d e }"],
    ["-Me", "new/unix=new unix - - n - - pipe\n flags=R"],
    ["-Me", "new/unix=other unix - - n - - pipe flags=R"], ["-Me", "new=new unix - - n - - pipe"],
    ["-Me", "new/unix = new unix - - n - -"], ["-Fe", "uucp/unix/command=smtp -o a=b"],
]
ODD = "-n | -nf | -nx | -hf transport_maps | -M | -Mf | -P | -Ff | -e no_line_end=1 b=2 | -MX h/unix"

BROKEN = "-n | -M | -d relayhost"


def cases():
    for config, text in (("hub", HUB), ("odd", ODD), ("broken", BROKEN)):
        for part in text.replace("\n", "|").split("|"):
            if part.strip():
                yield config, part.split()
    for arguments in HUB_MORE:
        yield "hub", arguments


def run_case(command, config, arguments, env=None):
    """What the command prints and exits with, and the files that it changed."""
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(HERE / config, f"{scratch}/conf")
        done = subprocess.run([*command, "-c", "conf", *arguments], cwd=scratch, text=True, env=env,
                              capture_output=True, timeout=60)
        files = {name: pathlib.Path(f"{scratch}/conf/{name}").read_text()
                 for name in ("main.cf", "master.cf")}
        changed = {name: text for name, text in files.items()
                   if text != (HERE / config / name).read_text()}
    return {"config": config, "arguments": arguments, "status": done.returncode,
            "stdout": done.stdout, "stderr": sorted(set(done.stderr.splitlines())), "files": changed}


def main(root):
    env = dict(os.environ, LD_LIBRARY_PATH=f"{root}/usr/lib/postfix", PATH=f"{root}/usr/sbin:/usr/bin:/bin")
    recorded = [run_case(["postconf"], config, arguments, env) for config, arguments in cases()]
    text = ",\n".join(json.dumps(case, ensure_ascii=False) for case in recorded)
    (HERE / "expected.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
