import assert from 'node:assert/strict'
import { test } from 'node:test'
import { redact } from './redact.ts'

test('addresses, numbers of people and keys are taken out', () => {
  for (const [text, expected] of [
    ['写信给 li.wei+x@example.com.cn 或 a@b.io。', '写信给 <email> 或 <email>。'],
    ['电话13812345678，或 +86 138-1234-5678', '电话<phone>，或 <phone>'],
    ['call +44 20 7946 0958 or 010-62781234 now', 'call <phone> or <phone> now'],
    // the example number of GB 11643-1999
    ['身份证11010519491231002X号', '身份证<id>号'],
    ['pay with 4111 1111 1111 1111 or 5500-0000-0000-0004', 'pay with <card> or <card>'],
    ['key sk-proj-abcdefghijklmnop1234 and AKIAIOSFODNN7EXAMPLE', 'key <key> and <key>'],
    ['Authorization: Bearer abcdefghijklmnop.qrst', 'Authorization: <key>'],
    ['-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----!', '<key>!'],
  ])
    assert.equal(redact(text), expected)
})

test('other text stays as it is', () => {
  for (const text of [
    '订单 20260301123456 共 3 件，价格 1234.56 元',
    'the numbers 110105194912310021 and 4111 1111 1111 1112 have wrong check digits',
    '3.14159265358979 and 192.168.100.200, version 1.2.3',
    'a@b is no address; sk-1 no key',
    '',
  ])
    assert.equal(redact(text), text)
})

test('long texts made to be slow end', () => {
  for (const piece of ['a', '1', '1 ', '@a.', 'eyJ', '+1(', '-----BEGIN PRIVATE KEY-----'])
    assert.equal(typeof redact(piece.repeat(20_000 / piece.length)), 'string')
})
