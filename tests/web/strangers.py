"""Who may not ask a live page's server, and how a test asks it without one."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import httpx

from convscope.web.guard import Guard

PORT, TOKEN, SECRET = 8765, "right", b"s" * 32
HOST = {"host": f"127.0.0.1:{PORT}"}


def ask(
    app: Any,
    path: str,
    headers: Any = HOST,
    *,
    method: str = "GET",
    port: int = PORT,
    secret: bytes = SECRET,
    posts: Collection[str] = (),
    content: bytes | None = None,
) -> httpx.Response:
    """The answer of the guarded app, without a server."""

    async def request() -> httpx.Response:
        guarded = Guard(app, port=port, token=TOKEN, secret=secret, posts=posts)
        transport = httpx.ASGITransport(guarded, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://nowhere") as client:
            return await client.request(method, path, headers=headers, content=content)

    return asyncio.run(request())


def cookie(app: Any, *, port: int = PORT, secret: bytes = SECRET) -> dict[str, str]:
    """The headers of somebody who has opened the address with the token."""
    host = {"host": f"127.0.0.1:{port}"}
    given = ask(app, f"/?token={TOKEN}", host, port=port, secret=secret).headers["set-cookie"]
    return {**host, "cookie": given.partition(";")[0]}


FOREIGN_HOSTS = [
    "", "evil.com", "127.0.0.1", "localhost", "127.0.0.1:80", "127.0.0.1:8766", "localhost.evil.com:8765",
    "evil.com:8765", "127.0.0.1.evil.com:8765", "127.0.0.1:8765.evil.com", "127.0.0.1:8765@evil.com",
    "0.0.0.0:8765", "[::1]:8765", "127.1:8765", "2130706433:8765", "0x7f000001:8765", "LOCALHOST:8765",
    "127.0.0.1:08765", "127.0.0.1 :8765", "localhost:8765,evil.com", "localhost:8765/", "xn--localhost:8765",
]  # fmt: skip
FOREIGN_ORIGINS = [
    "null", "", "http://evil.com", "https://127.0.0.1:8765", "http://127.0.0.1", "http://127.0.0.1:8766",
    "http://localhost:8765", "http://127.0.0.1:8765.evil.com", "http://127.0.0.1:8765/",
    "http://127.0.0.1:8765, null", "file://", "http://127.0.0.1:8765@evil.com", "HTTP://127.0.0.1:8765", "chrome-extension://abc",
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "WHATEVER"]

PAYLOADS = [
    "<script>ran(1)</script>", "</script><script>ran(2)</script>", "<img src=x onerror=ran(3)>",
    "<svg onload=ran(4)>", "<svg><script>ran(5)</script></svg>", "<iframe srcdoc='<script>parent.ran(6)</script>'>",
    "<body onload=ran(7)>", "<details open ontoggle=ran(8)>", "<input autofocus onfocus=ran(9)>",
    "<video><source onerror=ran(10)></video>", "<a href='javascript:ran(11)'>x</a>", "javascript:ran(12)",
    "data:text/html,<script>ran(13)</script>", "<math><mi xlink:href='javascript:ran(14)'>x</mi></math>",
    "<style>@import 'javascript:ran(15)'</style>", "<link rel=stylesheet href='data:text/css,*{color:red}'>",
    "<base href='http://evil.example/'>", "<meta http-equiv=refresh content='0;url=javascript:ran(18)'>",
    "<object data='javascript:ran(19)'></object>", "<embed src='javascript:ran(20)'>",
    "<form action='javascript:ran(21)'><button>x</button></form>", "{{ran(22)}}",
    "{{constructor.constructor('ran(23)')()}}", "${ran(24)}", "#{ran(25)}", "<%= ran(26) %>",
    "{% raw %}<script>ran(27)</script>", "{{ self.__init__.__globals__ }}", "__proto__", "constructor", "toString",
    "hasOwnProperty", "&lt;script&gt;ran(33)&lt;/script&gt;", "&#60;script&#62;ran(34)&#60;/script&#62;",
    "%3Cscript%3Eran(35)%3C%2Fscript%3E", "\\u003cscript\\u003eran(36)\\u003c/script\\u003e",
    "<scr<script>ipt>ran(37)", "<ScRiPt>ran(38)</sCrIpT>", "<script\x0c>ran(39)</script>",
    "<script\n>ran(40)</script>", "<img\tsrc=x\tonerror=ran(41)>", "<!--<img src='--><img src=x onerror=ran(42)//'>",
    "<![CDATA[<script>ran(43)</script>]]>", "<?xml version='1.0'?><x/>",
    "<noscript><p title='</noscript><img src=x onerror=ran(45)>'>", "<template><script>ran(46)</script></template>",
    "<textarea><script>ran(47)</script></textarea>", "<title><script>ran(48)</script></title>",
    "<svg><animate onbegin=ran(49) attributeName=x dur=1s>", "<img srcset='x 1x' onerror=ran(50)>",
]  # fmt: skip
INJECTIONS = [
    *PAYLOADS, '"><script>ran(51)</script>', "'><script>ran(52)</script>", '" onload="ran(53)',
    "' onmouseover='ran(54)", '" autofocus onfocus="ran(55)', "' style='color:red", '"};ran(57);//', "'};ran(58);//",
    "');ran(59);//", '");ran(60);//', "`;ran(61);`", "]]>;ran(62)", "*/ran(63)/*", "-->ran(64)<!--",
    "\u2028ran(65)\u2029", "\ufeff<script>ran(66)</script>", "\u202egnp.exe", "ａ＜script＞ran(68)＜/script＞",
    "<script>ran(69)//\x00</script>", "\r\nSet-Cookie: ran=70",
    "x\r\nContent-Type: text/html\r\n\r\n<script>ran(71)</script>", "\nLocation: http://evil.example",
    'x"; filename="evil.html', "x.png\"; filename*=UTF-8''evil.html", "x.html;.png", "../../etc/passwd",
    "..\\..\\ran", "/etc/passwd", "C:\\ran", "file:///etc/passwd", "$(touch ran)", "`touch ran`", "; touch ran",
    "| touch ran", "&& touch ran", "'; touch ran; '", '"; touch ran; "', "$HOME", "~root", "!!", "*", "-o ran",
    "--out=ran", "\\", "'", '"', "%s%s%n", "%00", "' OR 1=1 --", "é\u0301\U0001f600" * 3,
]  # fmt: skip
"""A hundred names of classes, files and runs; what runs of them in a page calls the page's function `ran`."""
