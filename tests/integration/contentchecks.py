"""Messages for header and body checks, and what a host said, logged and passed on of each."""
import re
import smtplib

import rewriting

SETTINGS = {
    "header_checks": "regexp:{ {/^X-Gone:/ IGNORE}, {/^X-Strip:/ STRIP why}, {/^X-Strip2:/ STRIP}, "
                     "{/^Subject: (.*) spam/ REPLACE Subject: [$$1]}, {/^Subject: bad/ REJECT}, "
                     "{/^Subject: worse/ REJECT no thanks}, {/^Subject: odd/ REJECT 5.6.1 odd}, "
                     "{/^Subject: folded/ WARN two lines}, "
                     "{/^X-Mark:/ PREPEND X-Before: here}, {/^X-Warn:/ WARN seen}, "
                     "{/^X-Warn2:/ WARN}, {/^X-Info:/ INFO text}, {/^X-Pass:/ PASS}, "
                     "{/^X-Redirect:/ REDIRECT other@far.test}, {/^X-Bcc:/ BCC copy@far.test}, "
                     "{/^X-Discard:/ DISCARD why}, {/^X-Filter:/ FILTER smtp:$relayhost}, "
                     "{/^Received: from client.test/ WARN ours}, {/^X-Ok:/ DUNNO} }",
    "mime_header_checks": "regexp:{ {/name=.*\\.exe/ REJECT no programs}, {/^X-Part:/ WARN part}, "
                          "{/^Content-Disposition:/ IGNORE} }",
    "nested_header_checks": "regexp:{ {/^Subject: (.*)/ REPLACE Subject: nested $$1} }",
    "body_checks": "regexp:{ {/^gone/ IGNORE}, {/^old (.*)$$/ REPLACE new $$1}, "
                   "{/^mark$$/ PREPEND before}, {/^warn/ WARN seen}, {/virus/ REJECT infected}, "
                   "{/^X-Part/ REPLACE x-part}, {/tail$$/ IGNORE} }",
    "body_checks_size_limit": "600", "smtp_tls_security_level": "none", "mydestination": "",
    "virtual_mailbox_domains": "", "virtual_mailbox_maps": "",
}

MULTIPART = """Content-Type: multipart/mixed; boundary="a b"

preamble
--a b
Content-Type: text/plain
X-Part: 1
Content-Disposition: inline;
 filename=x

X-Part: text
gone
--a b
Content-Type: message/rfc822

Subject: inner
X-Part: not this
Content-Type: multipart/alternative; boundary=in

--in
X-Part: 2

old inner
--in--
old epilogue
--a b--
X-Part: end
"""
CASES = {
    "header actions": "X-Gone: a\n b\nSubject: much spam\nX-Strip: s\nX-Strip2: t\nX-Mark: m\n"
                      "X-Warn: w\nX-Warn2: v\nX-Info: i\nX-Ok: o\n\nX-Gone: body\n",
    "reject": "Subject: bad\n\nx\n", "reject with text": "Subject: worse\n\nx\n",
    "reject with status": "Subject: odd\n\nx\n",
    "folded": "Subject: folded\n\tand more\n\nx\n",
    "long": "X-Warn: " + "y" * 300 + "\n\nx\n",
    "pass": "X-Pass: x\nSubject: bad\n\nvirus\n",
    "redirect": "X-Redirect: x\n\nx\n", "bcc": "X-Bcc: x\n\nx\n",
    "discard": "X-Discard: x\nSubject: bad\n\nvirus\n", "filter": "X-Filter: x\n\nx\n",
    "body actions": "A: b\n\ngone\nold text\nmark\nwarn me\ngone",
    "virus": "A: b\n\nclean\na virus here\nmore\n",
    "behind the limit": "A: b\n\n" + "0123456789\n" * 60 + "virus\n",
    "multipart": MULTIPART,
    "attachment": MULTIPART.replace("X-Part: 1", "Content-Type: a/b;\n name=evil.exe"),
    "unclosed": "Content-Type: multipart/mixed; boundary=x\n\n--x\nX-Part: 1\n\ngone\n--x\nno field\n"
                "gone\n",
    "junk boundary": "Content-Type: multipart/mixed; boundary=x\n\n--xjunk\nX-Part: 1\n\n--x--junk\n"
                     "gone\n",
    "digest": "Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: in digest\n\nold x\n"
              "--x--\n",
    "encoded message": "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n"
                       "Subject: text\n\nx\n",
    "message": "Content-Type: message/rfc822\n\nSubject: text\n\nold x\n",
    "partial": "Content-Type: message/partial; id=1\n\nSubject: text\n\nold x\n",
    "comment": "Content-Type: multipart (c) / mixed (d) ; (e) boundary = (f) \"x\"\n\n--x\nX-Part: 1\n"
               "\n\n--x--\n",
    "same prefix": "Content-Type: multipart/a; boundary=x\n\n--x\nContent-Type: multipart/b; "
                   "boundary=xy\n\n--xy\nX-Part: 1\n\nold a\n--x\nX-Part: 2\n\nold b\n--x--\n",
    "no header": "gone\n\nold x\n",
    "long line": "A: b\n\n" + "z" * 500 + "tail\nx\n",
}
TAIL = "From: x@y.test\nTo: z@y.test\nDate: Tue, 24 Nov 2026 09:15:02 +0000\nMessage-Id: <1@x>\n"


def send(address, port, text):
    with smtplib.SMTP(address, port, source_address=(address, 0), timeout=30) as client:
        client.ehlo("client.test")
        client.docmd("MAIL FROM:<s@far.test>")
        client.docmd("RCPT TO:<r@far.test>")
        client.docmd("DATA")
        lines = re.sub(r"(?m)^\.", "..", text).replace("\n", "\r\n")
        client.send(lines.encode() + ("" if text.endswith("\n") else "\r\n").encode() + b".\r\n")
        code, reply = client.getreply()
    return f"{code} {reply.decode()}"


def observe(address, port, peer, read_log):
    """(reply, log, recipients or content, case) -> text."""
    replies, ids = {}, {}
    for number, (case, text) in enumerate(CASES.items()):
        marked = TAIL + f"X-Case: {number}\n" + text
        if case == "no header":
            marked = text
        replies[case] = send(address, port, marked)
        if found := re.search(r"queued as (\w+)", replies[case]):
            ids[case] = found.group(1)
    passed = sum(reply.startswith("250") for reply in replies.values()) - 1  # one is discarded
    rewriting.wait_until_quiet(peer, passed)
    log, results = read_log(), {}
    acts = re.compile(r"cleanup\[\d+\]: (\w+): ((?:reject|warning|info|strip|replace|prepend|"
                      r"discard|filter|redirect|bcc|hold|pass): (?:header|body) .*)")
    lines = {}
    for line in log.splitlines():
        if found := acts.search(line):
            lines.setdefault(found.group(1), []).append(found.group(2))
    rejected = [texts for queue_id, texts in lines.items() if queue_id not in ids.values()]
    for case, reply in replies.items():
        texts = lines.get(ids[case], []) if case in ids else rejected.pop(0)
        texts = [re.sub(r"from \S+\[[\d.]+\]; ", "from CLIENT; ", text) for text in texts]
        texts = [re.sub(r"\[[\d.]+\]:2525", "[SINK]:2525", text) for text in texts
                 if "Received: from" not in text]
        results["reply", case] = re.sub(r"queued as \w+", "queued as ID", reply)
        results["log", case] = "\n".join(texts)
    for sender, recipients, content in peer.envelopes:
        text = content.decode()
        number = re.search(r"X-Case: (\d+)\r\n", text)
        case = list(CASES)[int(number.group(1))] if number else "no header"
        text = text[text.index("From: x@y.test"):] if number else text.split("\r\n\r\n", 1)[1]
        key = ("content", case)
        results[key] = text
        results["recipients", case] = " ".join(
            sorted(rewriting.path_of(path) for path in recipients))
    results["log", "of our own trace field"] = str(sum("Received: from client.test" in text
                                     for texts in lines.values() for text in texts))
    return results
