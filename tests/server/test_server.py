#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test_server.py SERVER: embed_server over real sockets.

Each case has a server of its own. After the case every arena must be whole
again, by /metrics, and the server, told to drain, must end with exit code 0
and leaked=0. One line a case, a count at the end, exit code 0 or 1.

Further words choose the cases whose names contain one of them.
"""

import array
import base64
import json
import math
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

PATIENCE = 30  # seconds; only a broken server needs them
SEED = int(os.environ.get('SEED', '1'))
CASES = []


def case(*options):
    """A case, with the options of its server."""
    def keep(function):
        CASES.append((function, options))
        return function
    return keep


class Skipped(Exception):
    pass


class Failed(Exception):
    pass


def check(truth, what):
    if not truth:
        raise Failed(what)


def check_equal(found, wanted, what=''):
    check(found == wanted, f'{what} found {found!r:.200}, wanted {wanted!r:.200}')


# ---- The server --------------------------------------------------------------


class Server:
    def __init__(self, path, options):
        self.process = subprocess.Popen(
            [path, '--port', '0', *options], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        line = self.process.stdout.readline()
        found = re.match(r'listening on 127\.0\.0\.1:(\d+)$', line)
        check(found, f'the server said {line!r}')
        self.port = int(found.group(1))

    def connect(self, receive_buffer=None):
        return Client(self.port, receive_buffer)

    def ask(self, *arguments, **options):
        """One request on a connection of its own."""
        with self.connect() as client:
            client.send(request(*arguments, **options))
            return client.answer()

    def scrape(self):
        answer = self.ask(method='GET', path='/metrics')
        check_equal(answer.status, 200, 'scrape')
        return answer

    def counts(self):
        """Every sample, by its name with labels."""
        lines = self.scrape().body.decode().splitlines()
        pairs = (line.rsplit(' ', 1) for line in lines if line[0] != '#')
        return {name: float(value) for name, value in pairs}

    def wait_until_whole(self):
        """A scrape lies in a block of the requests arena itself."""
        deadline = time.monotonic() + PATIENCE
        while True:
            counts = self.counts()
            out = {name: value for name, value in counts.items()
                   if re.match('weir_(blocks_out|spilled_blocks|waiting){', name)
                   and value > ('weir_blocks_out{arena="requests"}' == name)}
            out.update(missing_bytes(counts))
            if not out:
                return
            check(time.monotonic() < deadline, f'not whole again: {out}')
            time.sleep(0.02)

    def drain(self):
        self.process.send_signal(signal.SIGTERM)

    def end(self):
        """What the last line says, as a dictionary."""
        self.drain()
        try:
            said, _ = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed('the server does not end') from None
        check_equal(self.process.returncode, 0, f'exit code; {said[-3000:]}')
        last = dict(word.split('=') for word in said.splitlines()[-1].split())
        self.last = {name: int(value) for name, value in last.items()}
        check_equal(self.last['leaked'], 0, 'leaked')
        return self.last

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def missing_bytes(counts):
    """Of each arena, what is neither free nor kept at hand by a thread."""
    missing = {}
    for arena in 'requests', 'bodies', 'results', 'responses':
        total, free, cached, block = (
            counts[f'weir_{name}_bytes{{arena="{arena}"}}']
            for name in ('total', 'free', 'cached', 'block_size'))
        if free + cached + block * (arena == 'requests') < total:
            missing[arena] = total - free - cached
    return missing


# ---- A client ----------------------------------------------------------------


class Answer:
    def __init__(self, head, body):
        lines = head.decode('latin-1').split('\r\n')
        self.status = int(lines[0].split()[1])
        self.fields = {}
        for line in lines[1:]:
            name, value = line.split(':', 1)
            self.fields[name.lower()] = value.strip()
        self.body = body

    def json(self):
        return json.loads(self.body)

    def rows(self, dim=256):
        numbers = array.array('f', self.body)
        check(sys.byteorder == 'little', 'this test wants a little-endian machine')
        return [numbers[i:i + dim] for i in range(0, len(numbers), dim)]

    def closes(self):
        return self.fields['connection'] == 'close'


class Client:
    def __init__(self, port, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(('127.0.0.1', port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b''

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        data = self.socket.recv(65536)
        self.received += data
        return data

    def until(self, enough):
        while not enough():
            check(self.receive(), f'closed after {self.received[-200:]!r}')

    def take(self, count):
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def answer(self, has_body=True):
        self.until(lambda: b'\r\n\r\n' in self.received)
        head = self.take(self.received.index(b'\r\n\r\n') + 4)[:-4]
        answer = Answer(head, b'')
        if has_body and answer.status != 100:
            size = int(answer.fields['content-length'])
            self.until(lambda: len(self.received) >= size)
            answer.body = self.take(size)
        return answer

    def at_end(self):
        """The server closes, in peace or not, and has said nothing more."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b''
        check_equal(self.received + data, b'', 'after the end')

    def reset(self):
        """Ends the connection with RST."""
        self.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.socket.close()


ROWS = 'application/octet-stream'


def asking(text, **more):
    return json.dumps({'model': 'm', 'input': text, **more}).encode()


def request(body=None, method='POST', path='/v1/embeddings', accept=None,
            fields=(), version='1.1'):
    """The bytes of a request; with a body, its length is among the fields."""
    lines = [f'{method} {path} HTTP/{version}', 'Host: localhost']
    if accept:
        lines.append(f'Accept: {accept}')
    if body is not None:
        lines.append(f'Content-Length: {len(body)}')
    lines.extend(fields)
    return '\r\n'.join(lines).encode() + b'\r\n\r\n' + (body or b'')


def chunked(body, size, accept=None, trailer=b''):
    head = request(accept=accept, fields=['Transfer-Encoding: chunked'])
    pieces = (body[i:i + size] for i in range(0, len(body), size))
    chunks = (b'%x\r\n%s\r\n' % (len(piece), piece) for piece in pieces)
    return head + b''.join(chunks) + b'0\r\n' + trailer + b'\r\n'


def in_threads(count, work):
    """Runs work(number) in so many threads; the first failure is raised."""
    failures = []

    def run(number):
        try:
            work(number)
        except Exception as failure:  # shown by whoever called us
            failures.append(failure)

    threads = [threading.Thread(target=run, args=[i]) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise Failed(f'{len(failures)} of {count}: {failures[0]!r}')


# ---- Cases: what it answers --------------------------------------------------


@case()
def json_has_the_shape_that_clients_expect(server):
    answer = server.ask(asking(['one text', 'and another']))
    check_equal(answer.status, 200)
    check_equal(answer.fields['content-type'], 'application/json')
    said = answer.json()
    check_equal(said['object'], 'list')
    check_equal([row['index'] for row in said['data']], [0, 1])
    check_equal({row['object'] for row in said['data']}, {'embedding'})
    check_equal([len(row['embedding']) for row in said['data']], [256, 256])
    check_equal(said['usage'], {'prompt_tokens': 4, 'total_tokens': 4})
    check(isinstance(said['model'], str), 'model')


@case()
def float_base64_and_rows_agree_to_the_bit(server):
    texts = ['the arena', 'Grüße, 世界', '', 'a' * 5000, 'line\nline "quoted"']
    rows = server.ask(asking(texts), accept=ROWS).rows()
    floats = server.ask(asking(texts)).json()['data']
    coded = server.ask(asking(texts, encoding_format='base64')).json()['data']
    for row, numbers, code in zip(rows, floats, coded):
        check_equal(array.array('f', numbers['embedding']), row, 'float')
        check_equal(base64.b64decode(code['embedding']), row.tobytes(), 'base64')
    check_equal([len(rows), len(floats), len(coded)], [5, 5, 5])


@case()
def rows_have_length_one(server):
    texts = ['', ' ', 'a', 'the same the same', 'x' * 300, '!?']
    for row in server.ask(asking(texts), accept=ROWS).rows():
        check(abs(math.sqrt(sum(x * x for x in row)) - 1) < 1e-5, 'length')


@case('--loops', '1', '--workers', '1', '--batch', '3', '--block', '2048')
def the_same_text_has_the_same_row_on_every_server(server):
    texts = ['one', 'two three', 'the quick brown fox ' * 200]
    wanted = server.ask(asking(texts), accept=ROWS).body
    with_other_threads = Server(PATH, ['--workers', '3'])
    try:
        for text, row in zip(texts, Answer(b'HTTP/1.1 200 OK', wanted).rows()):
            found = with_other_threads.ask(asking(text), accept=ROWS)
            check_equal(found.body, row.tobytes())
        with_other_threads.end()
    finally:
        with_other_threads.kill()


@case()
def similar_texts_lie_closer(server):
    cat, cats, tax = server.ask(asking(
        ['the cat sat on the mat', 'a cat sits on mats', 'income tax return']),
        accept=ROWS).rows()
    near = sum(x * y for x, y in zip(cat, cats))
    far = sum(x * y for x, y in zip(cat, tax))
    check(near > far + 0.2, f'{near} against {far}')


@case('--dim', '37')
def dimension_is_an_option(server):
    text = server.ask(asking('odd sizes', encoding_format='base64')).json()
    check_equal(len(base64.b64decode(text['data'][0]['embedding'])), 37 * 4)
    check_equal(len(server.ask(asking('x'), accept=ROWS).body), 37 * 4)
    check_equal(server.ask(asking('x', dimensions=37)).status, 200)
    check_equal(server.ask(asking('x', dimensions=370)).status, 400)


@case()
def keys_come_in_any_order_and_others_are_skipped(server):
    body = (b' {"user":{"input":["no",{"input":[1]}]},"encoding_format":null,'
            b'"input" : [ "yes" ] , "more":[[1,2],true,null,-1.5e3],'
            b'"model":"m" } ')
    found = server.ask(body, accept=ROWS)
    check_equal(found.status, 200)
    check_equal(found.body, server.ask(asking('yes'), accept=ROWS).body)


@case()
def escapes_are_read_as_what_they_mean(server):
    plain = '{"input":"Grüße \U0001f600 a/b"}'.encode()
    escaped = (b'{"\\u0069nput":"Gr\\u00fc\\u00dfe \\ud83d\\ude00 '
               b'a\\/b"}')
    check_equal(server.ask(plain, accept=ROWS).body,
                server.ask(escaped, accept=ROWS).body)


@case('--block', '2048', '--arena', '4000000')
def a_body_over_many_blocks_is_read_as_one(server):
    text = ' '.join(f'word{i}' for i in range(60000))
    answer = server.ask(asking(text))
    check_equal(answer.status, 200)
    check_equal(answer.json()['usage']['prompt_tokens'], 60000)


# ---- Cases: what it refuses --------------------------------------------------


@case()
def bad_json_gets_400_and_the_connection_stays(server):
    bodies = [b'', b'{', b'}', b'nope', b'{"input":"x"} x', b'{"input":"x"',
              b'{"input":}', b"{'input':'x'}", b'{"input":"\xff\xfe"}',
              b'{"input":"\x01"}', b'\x00' * 100, b'[' * 100000]
    with server.connect() as client:
        for body in bodies:
            client.send(request(body))
            answer = client.answer()
            check_equal(answer.status, 400, body[:20])
            check('message' in answer.json()['error'], 'a message')
            check(not answer.closes(), 'it stays open')


@case()
def json_that_asks_for_nothing_gets_400(server):
    bodies = [b'{}', b'[]', b'"x"', b'null', b'{"model":"m"}', b'{"input":[]}',
              b'{"input":null}', b'{"input":1}', b'{"input":true}',
              b'{"input":{"a":1}}', b'{"input":[1,2]}', b'{"input":["x",1]}',
              b'{"input":[["x"]]}', b'{"input":[{}]}', b'{"input":[null]}',
              b'{"input":"x","input":"y"}', b'{"input":"x","model":1}',
              b'{"input":"x","encoding_format":"int8"}',
              b'{"input":"x","encoding_format":["float"]}',
              b'{"input":"x","dimensions":"256"}']
    with server.connect() as client:
        for body in bodies:
            client.send(request(body))
            check_equal(client.answer().status, 400, body)


@case('--batch', '8')
def more_texts_than_a_matrix_has_rows_get_400(server):
    check_equal(server.ask(asking(['x'] * 8)).status, 200)
    check_equal(server.ask(asking(['x'] * 9)).status, 400)
    wanted = server.ask(asking(list('abcde')), accept=ROWS).body

    def five_of_eight(_):
        for _ in range(5):
            found = server.ask(asking(list('abcde')), accept=ROWS)
            check_equal(found.body, wanted, 'five texts')
    in_threads(16, five_of_eight)


@case()
def unknown_paths_and_wrong_methods_are_refused(server):
    with server.connect() as client:
        for method, path, status, allow in [
                ('GET', '/', 404, None), ('GET', '/v1/embedding', 404, None),
                ('GET', '/v1/embeddings/', 404, None),
                ('GET', '/v1/embeddings', 405, 'POST'),
                ('DELETE', '/v1/embeddings?x=1', 405, 'POST'),
                ('POST', '/metrics', 405, 'GET'),
                ('GET', '/metrics?x', 200, None),
                ('OPTIONS', '*', 404, None)]:
            client.send(request(method=method, path=path))
            answer = client.answer()
            check_equal(answer.status, status, f'{method} {path}')
            check_equal(answer.fields.get('allow'), allow, f'{method} {path}')
        client.send(request(asking('x'), path='http://host/v1/embeddings?a=b'))
        check_equal(client.answer().status, 200, 'a whole URL')
        client.send(request(method='HEAD'))
        check_equal(client.answer(has_body=False).status, 405, 'HEAD')
        client.send(request(b'x' * 50, path='/nope'))
        answer = client.answer()
        check_equal(answer.status, 404, 'a body that nobody wants')
        check(answer.closes(), 'its connection closes')
        client.at_end()
    with server.connect() as client:
        client.send(b'CONNECT host:1 HTTP/1.1\r\n\r\n')
        check_equal(client.answer().status, 404, 'CONNECT')
        client.at_end()


@case('--body-max', '10000')
def bodies_over_the_limit_get_413(server):
    exact = asking('x' * (10000 - len(asking(''))))
    check_equal(len(exact), 10000)
    check_equal(server.ask(exact).status, 200, 'the limit itself')
    too_large = asking('x' * 10000)
    for data in [request(too_large), chunked(too_large, 777),
                 request(fields=['Content-Length: 99999999999'])]:
        with server.connect() as client:
            try:
                client.send(data + b'x' * 200000)
            except OSError:
                pass  # it may be gone by now; its answer is not
            answer = client.answer()
            check_equal(answer.status, 413)
            check(answer.closes(), 'it closes')


@case()
def garbage_gets_400_and_no_more(server):
    random_bytes = random.Random(SEED).randbytes
    for data in [b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', b'GET\r\n\r\n',
                 b'\x00' * 3000, b'HELO mail\r\n', b'GET / HTTP/9.9.9\r\n\r\n',
                 b'GET / HTTP/1.1\r\nno colon\r\n\r\n',
                 b'POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n',
                 b'POST / HTTP/1.1\r\nContent-Length: 1\r\n'
                 b'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
                 *(b'\x80' + random_bytes(500) for _ in range(20))]:
        with server.connect() as client:
            client.send(request(asking('first'), accept=ROWS) + data)
            check_equal(client.answer().status, 200, 'the one before')
            check_equal(client.answer().status, 400, data[:20])
            client.at_end()


@case()
def heads_over_the_limit_get_431(server):
    long_path = request(asking('x'), path='/' + 'x' * 5000)
    long_field = request(asking('x'), fields=['X: ' + 'x' * 100000])
    for data in long_path, long_field:
        with server.connect() as client:
            client.send(data)
            check_equal(client.answer().status, 431)
            client.at_end()
    check_equal(server.ask(
        asking('x'), fields=['X-Long-' + 'x' * 500 + ': ' + 'y' * 5000]).status,
        200, 'a long field that nobody looks at')


# ---- Cases: how bytes arrive -------------------------------------------------


@case('--delay-us', '0')
def requests_split_at_every_byte(server):
    body = asking(['split', 'me "here"'])
    wanted = server.ask(body, accept=ROWS).body
    for data in [request(body, accept=ROWS), chunked(body, 7, accept=ROWS)]:
        with server.connect() as client:
            for i in range(1, len(data)):
                client.send(data[:i])
                time.sleep(0.001)
                client.send(data[i:])
                check_equal(client.answer().body, wanted, f'split at {i}')
            for byte in data:
                client.send(bytes([byte]))
                time.sleep(0.0005)
            check_equal(client.answer().body, wanted, 'byte by byte')


@case()
def pipelined_requests_are_answered_in_their_order(server):
    singles = {text: server.ask(asking(text), accept=ROWS).body
               for text in ('a', 'b', 'c')}
    kinds = [(request(asking(text), accept=ROWS), 200, row)
             for text, row in singles.items()]
    kinds += [(request(asking('json')), 200, None),
              (request(b'{', ), 400, None),
              (request(method='GET', path='/none'), 404, None),
              (request(method='GET'), 405, None),
              (request(method='GET', path='/metrics'), 200, None),
              (chunked(asking('a'), 3, accept=ROWS), 200, singles['a'])]
    order = random.Random(SEED).choices(kinds, k=300)
    with server.connect() as client:
        client.send(b''.join(data for data, _, _ in order))
        for data, status, body in order:
            answer = client.answer()
            check_equal(answer.status, status, data[:40])
            check(body is None or answer.body == body, f'body of {data[:40]}')


@case()
def a_thousand_pipelined_requests_hold_a_bounded_amount(server):
    sent = request(asking('deep'), accept=ROWS) * 1000
    with server.connect(receive_buffer=4096) as client:
        sender = threading.Thread(target=client.send, args=[sent])
        sender.start()
        time.sleep(0.5)
        out = server.counts()['weir_blocks_out{arena="results"}']
        check(out <= 64, f'{out} result blocks are out')
        for _ in range(1000):
            check_equal(client.answer().status, 200)
        sender.join()


@case()
def expect_100_continue_is_answered(server):
    body = asking('later')
    head = request(accept=ROWS, fields=[
        f'Content-Length: {len(body)}', 'Expect: 100-continue'])
    with server.connect() as client:
        for _ in range(3):
            client.send(head)
            check_equal(client.answer().status, 100)
            client.send(body)
            check_equal(client.answer().status, 200)
        client.send(request(asking('before'), accept=ROWS) + head)
        check_equal(client.answer().status, 200, 'the one before')
        check_equal(client.answer().status, 100)
        client.send(body)
        check_equal(client.answer().status, 200)
        client.send(request(fields=['Content-Length: 999999999',
                                    'Expect: 100-continue']))
        check_equal(client.answer().status, 413, 'no leave to send')


@case('--block', '2048')
def chunked_bodies_of_any_size(server):
    body = asking('chunks ' * 400)
    wanted = server.ask(body, accept=ROWS).body
    with server.connect() as client:
        for size in 1, 2, 3, 100, 2000, 100000:
            client.send(chunked(body, size, accept=ROWS,
                                trailer=b'X-Sum: 1\r\n'))
            check_equal(client.answer().body, wanted, f'chunks of {size}')


@case()
def connections_close_when_they_are_asked_to(server):
    for version, fields, closes in [
            ('1.1', [], False), ('1.1', ['Connection: close'], True),
            ('1.0', [], True), ('1.0', ['Connection: keep-alive'], False)]:
        with server.connect() as client:
            data = request(asking('x'), version=version, fields=fields)
            client.send(data * 2 if closes else data)
            answer = client.answer()
            check_equal([answer.status, answer.closes()], [200, closes])
            if closes:
                client.at_end()


@case()
def who_sends_no_more_still_gets_its_answers(server):
    with server.connect() as client:
        client.send(request(asking('x')) * 20)
        client.socket.shutdown(socket.SHUT_WR)
        for _ in range(20):
            check_equal(client.answer().status, 200)
        client.at_end()
    with server.connect() as client:
        client.send(request(asking('x'))[:-5])
        client.socket.shutdown(socket.SHUT_WR)
        client.at_end()


# ---- Cases: clients that are no help -----------------------------------------


@case()
def slow_readers_get_everything_and_stop_nobody(server):
    body = asking(['slow reading'] * 64)
    whole = server.ask(body).body
    with server.connect(receive_buffer=8192) as client:
        client.send(request(body) * 10)
        for _ in range(20):
            check_equal(server.ask(asking('quick')).status, 200)
            client.receive()
            time.sleep(0.02)
        for _ in range(10):
            check_equal(client.answer().body, whole)


@case('--deadline-ms', '400', '--results', '2', '--responses', '4')
def who_does_not_read_is_cut_off_at_the_deadline(server):
    body = asking(['never read'] * 64)
    idle = [server.connect(receive_buffer=4096) for _ in range(8)]
    for client in idle:
        client.send(request(body) * 30 + request(body, accept=ROWS) * 30)
    time.sleep(0.1)
    check_equal(server.ask(asking('x'), accept=ROWS).status // 100 in (2, 5),
                True, 'others are answered')
    server.wait_until_whole()
    check_equal(server.ask(asking('x'), accept=ROWS).status, 200, 'after that')
    for client in idle:
        client.reset()
    return {'rejected': lambda n: n >= 8}


@case('--delay-us', '20000')
def resets_in_the_middle_leak_nothing(server):
    body = asking(['reset me'] * 60)
    data = request(body)
    for size in [1, 20, 90, len(data) // 2, len(data) - 1, len(data)]:
        for wait in 0, 0.005, 0.025:
            client = server.connect(receive_buffer=4096)
            client.send(data * 3 + data[:size])
            time.sleep(wait)
            client.reset()
    client = server.connect(receive_buffer=4096)
    client.send(data * 10)
    client.receive()  # in the middle of its answer
    client.reset()
    check_equal(server.ask(asking('x')).status, 200)


@case('--slots', '16', '--block', '4096', '--results', '2', '--deadline-ms', '500')
def a_storm_of_clients_that_do_anything(server):
    def do_anything(number):
        choose = random.Random(SEED * 1000 + number)
        for _ in range(25):
            client = server.connect(choose.choice([None, 4096]))
            client.socket.settimeout(0.2)
            text = ['storm'] * choose.randrange(1, 70)
            data = request(asking(text), accept=choose.choice([None, ROWS]))
            data *= choose.randrange(1, 6)
            cut = choose.choice([len(data), choose.randrange(len(data))])
            try:
                client.send(data[:cut])
                if choose.random() < 0.3:
                    client.send(choose.randbytes(50))
                for _ in range(choose.randrange(4)):
                    client.receive()
            except OSError:
                pass  # refused and closed, as it should be
            if choose.random() < 0.5:
                client.reset()
            else:
                client.socket.close()
    in_threads(12, do_anything)


# ---- Cases: not enough blocks ------------------------------------------------


@case()
def idle_connections_hold_no_block(server):
    idle = [server.connect() for _ in range(100)]
    for client in idle:
        client.send(request(asking('once'), accept=ROWS))
    for client in idle:
        check_equal(client.answer().status, 200)
    server.wait_until_whole()
    for client in idle:
        client.send(request(asking('again'), accept=ROWS))
        check_equal(client.answer().status, 200)
        client.socket.close()


def serve_a_hundred_clients(server):
    start = threading.Barrier(100)
    body = asking('x' * 3000)
    wanted = []

    def five_requests(_):
        with server.connect() as client:
            start.wait()
            for _ in range(5):
                client.send(request(body, accept=ROWS))
                answer = client.answer()
                check_equal(answer.status, 200)
                wanted.append(answer.body)
    in_threads(100, five_requests)
    check_equal([len(wanted), len(set(wanted))], [500, 1])
    return {'waits': lambda n: n > 0, 'rejected': lambda n: n == 0}


@case('--slots', '4', '--block', '4096')
def four_slots_serve_a_hundred_clients(server):
    return serve_a_hundred_clients(server)


# Two messages and a half in a block: whoever reads a half must not have given
# up its place for it.
@case('--slots', '4', '--block', '8192')
def four_slots_of_two_messages_serve_a_hundred_clients(server):
    return serve_a_hundred_clients(server)


@case('--slots', '4', '--results', '1', '--responses', '1', '--batch', '4')
def one_result_block_and_one_response_block_serve_everybody(server):
    def ten_requests(number):
        accept = ROWS if number % 2 else None
        with server.connect() as client:
            for _ in range(10):
                client.send(request(asking(['tight'] * 4), accept=accept))
                check_equal(client.answer().status, 200)
    in_threads(30, ten_requests)
    return {'waits': lambda n: n > 0, 'rejected': lambda n: n == 0}


def words(count):
    return asking('word ' * count)


# The largest takes half of what there is for bodies.
@case('--body-max', '1048576', '--bodies', '2097152')
def bodies_of_all_sizes_at_once_up_to_the_limit(server):
    start = threading.Barrier(24)

    def double_the_size(number):
        with server.connect() as client:
            start.wait()
            for power in range(3, 17 if number % 6 else 21):
                size = (1 << power) - number
                count = max(1, (size - len(words(0))) // 5)
                client.send(request(words(count)))
                check_equal(client.answer().json()['usage']['prompt_tokens'],
                            count, 'words')
    in_threads(24, double_the_size)
    body = asking('x' * (1048576 - len(asking(''))))
    check_equal(server.ask(body).status, 200, 'the limit')
    check_equal(server.ask(asking('x' * 1048576)).status, 413, 'over it')
    return {'waits': lambda n: n > 0, 'rejected': lambda n: n == 0}


@case('--results', '2', '--slots', '64')
def batches_of_all_sizes_share_two_matrices(server):
    texts = [f'text number {i}' for i in range(64)]
    whole = server.ask(asking(texts), accept=ROWS).body
    start = threading.Barrier(32)

    def ask_for_some(number):
        choose = random.Random(SEED * 1000 + number)
        with server.connect() as client:
            start.wait()
            for _ in range(20):
                count = choose.choice([1, 1, 1, 2, 3, 5, 9, 17, 33, 64])
                first = choose.randrange(65 - count)
                client.send(request(
                    asking(texts[first:first + count]), accept=ROWS))
                check_equal(client.answer().body,
                            whole[first * 1024:(first + count) * 1024], count)
    in_threads(32, ask_for_some)
    return {'waits': lambda n: n > 0, 'rejected': lambda n: n == 0}


@case()
def a_matrix_is_as_large_as_its_rows(server):
    def after(body):
        before = server.counts()
        check_equal(server.ask(body, accept=ROWS).status, 200)
        after = server.counts()
        return [after[name] - before[name] for name in
                (f'weir_{name}_bytes_total{{arena="results"}}'
                 for name in ('got', 'trimmed'))]

    check_equal(after(asking('one')), [1024, 0])
    check_equal(after(asking(['x'] * 5)), [8192, 0])
    check_equal(after(asking('one', user='["x","x"]')), [1024, 0])
    check_equal(after(asking('one', more=['no text'] * 60)), [65536, 64512])


def serve_large_and_small_bodies(server):
    start = threading.Barrier(60)
    answers = []

    def ask(number):
        count = [20, 100, 700, 12000][number % 4]
        body = words(count)
        with server.connect() as client:
            start.wait()
            for _ in range(4):
                client.send(request(body))
                found = client.answer().json()['usage']['prompt_tokens']
                check_equal(found, count, 'words')
                answers.append(count)
    in_threads(60, ask)
    check_equal(len(answers), 240, 'answers')
    return {'waits': lambda n: n > 0, 'rejected': lambda n: n == 0}


@case('--slots', '4', '--block', '4096', '--bodies', '65536', '--results', '1')
def large_and_small_bodies_all_find_their_blocks(server):
    return serve_large_and_small_bodies(server)


# Every arena has one block for the largest that comes.
@case('--slots', '1', '--block', '4096', '--bodies', '65536', '--results', '1',
      '--batch', '1', '--responses', '1')
def one_block_of_each_arena_serves_large_and_small_bodies(server):
    return serve_large_and_small_bodies(server)


@case('--slots', '4', '--block', '4096', '--bodies', '65536')
def halves_of_many_do_not_wait_for_each_other(server):
    """Each sends half, then the other half: in parts, no two would fit."""
    start = threading.Barrier(40)

    def send_halves(number):
        data = request(words(6000 - number))
        with server.connect() as client:
            client.send(data[:6000])
            start.wait()
            client.send(data[6000:])
            check_equal(client.answer().status, 200)
    in_threads(40, send_halves)
    return {'waits': lambda n: n > 0, 'rejected': lambda n: n == 0}


@case('--slots', '3', '--block', '3000', '--bodies', '5000', '--arena', '4097',
      '--results', '3', '--batch', '5', '--dim', '37', '--responses', '3')
def sizes_become_the_nearest_that_can_be_built(server):
    counts = server.counts()
    for arena, total, smallest, largest in [
            ('requests', 3 * 4096, 4096, 8192), ('bodies', 5120, 1024, 4096),
            ('results', 3 * 1024, 256, 2048)]:
        found = [counts[f'weir_{name}_bytes{{arena="{arena}"}}']
                 for name in ('total', 'block_size', 'block_size_max')]
        check_equal(found, [total, smallest, largest], arena)
    check_equal(server.ask(asking('x' * (4096 - len(asking(''))))).status, 200)
    check_equal(server.ask(asking('x' * 4096)).status, 413)
    check_equal(len(server.ask(asking(['x'] * 5), accept=ROWS).body), 5 * 37 * 4)


@case('--slots', '4', '--block', '4096', '--deadline-ms', '500')
def half_sent_bodies_meet_the_deadline(server):
    body = asking('x' * 7000)
    halves = [server.connect() for _ in range(8)]
    for client in halves:
        client.send(request(body)[:-1500])
    time.sleep(0.1)
    before = time.monotonic()
    check_equal(server.ask(asking('patient'), accept=ROWS).status, 200)
    check(time.monotonic() - before < 5, 'it waited for more than the deadline')
    rejected = 0
    for client in halves:
        try:
            answer = client.answer()
            check_equal([answer.status, answer.closes()], [503, True])
            rejected += 1
            client.at_end()
        except TimeoutError:
            pass  # never a byte of it was read: it is no request yet
        client.socket.close()
    check(rejected >= 2, f'{rejected} were rejected')
    return {'rejected': lambda n: n >= rejected}


# ---- Cases: numbers and the end ----------------------------------------------


PARSE = '''
import sys
from prometheus_client.openmetrics import parser
for family in parser.text_string_to_metric_families(sys.stdin.read()):
    print(family.name)
'''


def families_of(text):
    """As Debian's parser reads them, which another python may not have."""
    for python in sys.executable, '/usr/bin/python3':
        parsed = subprocess.run([python, '-c', PARSE], input=text, text=True,
                                capture_output=True, check=False)
        if parsed.returncode == 0:
            return set(parsed.stdout.split())
        check('No module named' in parsed.stderr, parsed.stderr)
    missing = 'python3-prometheus-client is not installed'
    if os.environ.get('CI') or os.environ.get('WEIR_REQUIRE_ALL'):
        raise Failed(missing)
    raise Skipped(missing)


@case()
def metrics_are_openmetrics(server):
    check_equal(server.ask(asking('x')).status, 200)
    answer = server.scrape()
    text = answer.body.decode()
    check_equal(answer.fields['content-type'],
                'application/openmetrics-text; version=1.0.0; charset=utf-8')
    check_equal(text.count('# EOF\n'), 1)
    check(text.endswith('# EOF\n'), 'the EOF is last')
    check('embed_requests_total 1\n' in text, 'the request is counted')
    names = families_of(text)
    check({'embed_requests', 'weir_blocks_out', 'weir_waits'} <= names, names)


@case('--block', '2048')
def no_payload_is_copied(server):
    body = asking('nothing of this is moved ' * 1000)
    with server.connect() as client:
        for accept in ROWS, None:
            client.send(request(body, accept=accept) * 10)
            for _ in range(10):
                check_equal(client.answer().status, 200)
    return {'payload_copied': lambda n: n == 0, 'requests': lambda n: n == 20}


@case('--block', '2048', '--copy', '1')
def a_server_that_copies_is_found_out(server):
    body = asking(['all of this is moved ' * 100, 'twice'])
    rows = 2 * 256 * 4
    wanted = Server(PATH, [])
    try:
        check_equal(server.ask(body, accept=ROWS).body,
                    wanted.ask(body, accept=ROWS).body)
        wanted.end()
    finally:
        wanted.kill()
    return {'payload_copied': lambda n: n == len(body) + rows}


@case('--delay-us', '300000')
def draining_answers_what_is_in_flight(server):
    clients = [server.connect() for _ in range(20)]
    idle = [server.connect() for _ in range(5)]
    for client in clients:
        client.send(request(asking(['drain'] * 3), accept=ROWS) * 2)
    time.sleep(0.1)
    server.drain()
    time.sleep(0.05)
    for client in clients:
        check_equal(client.answer().status, 200)
        check_equal(client.answer().status, 200)
        client.at_end()
    for client in idle:
        client.at_end()
    try:
        server.connect()
    except ConnectionRefusedError:
        return {'requests': lambda n: n == 40, 'rejected': lambda n: n == 0}
    raise Failed('it still accepts')


@case('--deadline-ms', '1000')
def draining_waits_for_halves_until_the_deadline(server):
    data = request(asking('half'), accept=ROWS)
    with server.connect() as finishes, server.connect() as never_does:
        finishes.send(data[:-5])
        never_does.send(data[:-5])
        time.sleep(0.1)
        server.drain()
        time.sleep(0.2)
        finishes.send(data[-5:])
        answer = finishes.answer()
        check_equal([answer.status, answer.closes()], [200, True])
        finishes.at_end()
        check_equal(never_does.answer().status, 503)
        never_does.at_end()
    return {'requests': lambda n: n == 2, 'rejected': lambda n: n == 1}


def drain_while_answering(server, clients):
    for client in clients:
        client.send(request(method='GET', path='/nothing'))
        check_equal(client.answer().status, 404)
    for client in clients:
        client.send(request(asking('drain'), accept=ROWS))
    server.end()


@case()
def draining_gives_back_the_block_that_answers_share(_):
    """A loop may end between its last answers and its next turn: 32 of them
    each meet their sweep at another moment, 16 times over."""
    for _ in range(16):
        server = Server(PATH, ('--delay-us', '4000', '--deadline-ms', '64',
                               '--loops', '32'))
        try:
            drain_while_answering(server, [server.connect() for _ in range(100)])
        finally:
            server.kill()


# ---- All of them -------------------------------------------------------------


def run_case(function, options):
    server = Server(PATH, options)
    try:
        wanted = function(server) or {}
        if server.process.poll() is None and 'drain' not in function.__name__:
            server.wait_until_whole()
        last = server.end()
        for name, holds in wanted.items():
            check(holds(last[name]), f'{name}={last[name]}')
    finally:
        server.kill()


def main():
    passed = failed = skipped = 0
    for function, options in CASES:
        name = function.__name__.replace('_', ' ')
        if WORDS and not any(word in name for word in WORDS):
            continue
        began = time.monotonic()
        try:
            run_case(function, options)
            result, why = 'ok', ''
            passed += 1
        except Skipped as reason:
            result, why = 'SKIP', f': {reason}'
            skipped += 1
        except (Failed, OSError) as reason:
            result, why = 'FAIL', f': {reason!r}'
            failed += 1
        print(f'{result:4} {name} ({time.monotonic() - began:.1f} s){why}',
              flush=True)
    print(f'{passed} passed, {failed} failed, {skipped} skipped (seed {SEED})')
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    PATH, *WORDS = sys.argv[1:]
    sys.exit(main())
