"""The options of curl: which take an argument, which matter to a request, and which only to a terminal.

Source: `curl --help all` of 8.10 and 7.88, and the manual of each option.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

SHORT = {
    "d": "data", "F": "form", "H": "header", "A": "user-agent", "e": "referer", "b": "cookie", "u": "user",
    "X": "request", "G": "get", "I": "head", "m": "max-time", "k": "insecure", "L": "location", "T": "upload-file",
    "x": "proxy", "E": "cert", "K": "config", "C": "continue-at", "c": "cookie-jar", "D": "dump-header",
    "o": "output", "P": "ftp-port", "Q": "quote", "r": "range", "t": "telnet-option", "U": "proxy-user",
    "w": "write-out", "Y": "speed-limit", "y": "speed-time", "z": "time-cond", "s": "silent", "S": "show-error",
    "v": "verbose", "i": "include", "f": "fail", "#": "progress-bar", "g": "globoff", "j": "junk-session-cookies",
    "l": "list-only", "M": "manual", "n": "netrc", "N": "no-buffer", "O": "remote-name", "J": "remote-header-name",
    "p": "proxytunnel", "q": "disable", "R": "remote-time", "V": "version", "Z": "parallel", "a": "append",
    "B": "use-ascii", "0": "http1.0", "1": "tlsv1", "2": "sslv2", "3": "sslv3", "4": "ipv4", "6": "ipv6",
    "h": "help", ":": "next",
}  # fmt: skip


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


USED_WITH_ARGUMENT = _names(
    "data data-ascii data-binary data-raw data-urlencode json form form-string header user-agent referer cookie user"
    " oauth2-bearer request url url-query max-time range retry retry-delay"
)
SILENT_FLAGS = _names(
    "silent show-error verbose include fail fail-early fail-with-body progress-bar no-progress-meter globoff no-buffer"
    " no-keepalive compressed http1.0 http1.1 http2 http2-prior-knowledge http3 http3-only remote-name remote-name-all"
    " remote-header-name remote-time parallel parallel-immediate tcp-nodelay tcp-fastopen ipv4 ipv6 disable styled-output"
    " no-styled-output trace-time retry-connrefused retry-all-errors path-as-is post301 post302 post303 no-sessionid"
    " sessionid junk-session-cookies raw create-dirs show-headers xattr basic tlsv1 tlsv1.0 tlsv1.1 tlsv1.2 tlsv1.3 no-clobber"
)
"""Of the terminal or of the transport: the request is the same without them."""
SILENT_WITH_ARGUMENT = _names(
    "output output-dir write-out dump-header cookie-jar stderr trace trace-ascii trace-config libcurl keepalive-time"
    " connect-timeout expect100-timeout parallel-max limit-rate rate speed-limit speed-time max-filesize max-redirs"
    " create-file-mode etag-save proto proto-default proto-redir retry-max-time hsts alt-svc dns-interface dns-ipv4-addr"
    " dns-ipv6-addr dns-servers doh-url happy-eyeballs-timeout-ms local-port tls-max ciphers tls13-ciphers curves"
)
NOTED_WITH_ARGUMENT = _names(
    "abstract-unix-socket unix-socket aws-sigv4 cacert capath cert cert-type config connect-to continue-at crlfile"
    " delegation egd-file engine etag-compare ftp-account ftp-alternative-to-user ftp-method ftp-port ftp-ssl-ccc-mode"
    " haproxy-clientip help hostpubmd5 hostpubsha256 interface ip-tos key key-type krb login-options mail-auth mail-from"
    " mail-rcpt netrc-file noproxy pass pinnedpubkey preproxy proxy proxy-cacert proxy-capath proxy-cert proxy-cert-type"
    " proxy-ciphers proxy-crlfile proxy-header proxy-key proxy-key-type proxy-pass proxy-pinnedpubkey proxy-service-name"
    " proxy-tls13-ciphers proxy-tlsauthtype proxy-tlspassword proxy-tlsuser proxy-user proxy1.0 pubkey quote random-file"
    " request-target resolve sasl-authzid service-name socks4 socks4a socks5 socks5-gssapi-service socks5-hostname"
    " telnet-option tftp-blksize time-cond tlsauthtype tlspassword tlsuser upload-file variable vlan-priority ech"
    " ipfs-gateway"
)
NOTED_FLAGS = frozenset({"anyauth", "netrc", "netrc-optional", "crlf", "list-only", "append"})
WITH_ARGUMENT = USED_WITH_ARGUMENT | SILENT_WITH_ARGUMENT | NOTED_WITH_ARGUMENT


_USED_FLAGS = frozenset(
    {"get", "head", "insecure", "location", "location-trusted", "next", "digest", "ntlm", "negotiate"}
)


class CurlOption(msgspec.Struct, frozen=True):
    """One option of a command, or a URL that stands alone."""

    name: str
    """Long and without dashes; `url` for a URL, and an unknown one as it was written."""
    argument: str | None = None


def read_options(words: Sequence[str]) -> Iterator[CurlOption]:
    """Cut the words after `curl` into options."""
    rest = iter(words)
    only_urls = False
    for word in rest:
        if word == "--" and not only_urls:
            only_urls = True
        elif only_urls or not word.startswith("-") or word == "-":
            yield CurlOption(name="url", argument=word)
        elif word.startswith("--"):
            name = _whole_name(word[2:])
            yield CurlOption(name=name, argument=next(rest, "") if name in WITH_ARGUMENT else None)
        else:
            yield from _read_bundle(word[1:], rest)


def _whole_name(name: str) -> str:
    """Complete an abbreviated name, as curl does where only one option begins so; `--no-x` says the default of x."""
    known = WITH_ARGUMENT | SILENT_FLAGS | NOTED_FLAGS | _USED_FLAGS
    if name in known:
        return name
    if name.startswith("no-") and name.removeprefix("no-") in known:
        return "silent"
    longer = [found for found in known if found.startswith(name)]
    return longer[0] if len(longer) == 1 and len(name) > 2 else name


def _read_bundle(letters: str, rest: Iterator[str]) -> Iterator[CurlOption]:
    """Read `-sSL` and `-XPOST`: the first that takes an argument takes what follows it."""
    for index, letter in enumerate(letters):
        name = SHORT.get(letter, f"-{letter}")
        if name not in WITH_ARGUMENT:
            yield CurlOption(name=name)
            continue
        glued = letters[index + 1 :]
        yield CurlOption(name=name, argument=glued or next(rest, ""))
        return
