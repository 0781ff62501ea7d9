import assert from 'node:assert/strict'
import { test } from 'node:test'
import { choose, paretoBest, within } from '../search.ts'
import { missedBy, parseGoal, parseTolerance } from './goal.ts'
import { measured } from './measures.ts'
import { judge } from './verdict.ts'

const table = [
  measured('accuracy', 0.91, 0.907),
  measured('agreement', 1, 0.985),
  measured('latency', 1, 0.8),
  measured('throughput', 1000, 1500),
  measured('size', 40e6, 11e6),
]

test('goals are read, and what cannot be read is named', () => {
  assert.deepEqual(parseGoal('size<=0.3, accuracy>=-0.5pt,latency=min'), {
    bounds: [
      { measure: 'size', operator: '<=', value: 0.3 },
      { measure: 'accuracy', operator: '>=', value: -0.5 },
    ],
    best: 'latency',
  })
  for (const [text, part] of [
    ['size<0.3', 'cannot read "size<0.3"'],
    ['sise<=0.3', 'no measure "sise"'],
    ['latency=max', 'latency=min'],
    ['latency=min,throughput=max', 'one measure at most'],
    ['size<=min', 'expected a number'],
  ]) {
    assert.throws(
      () => parseGoal(text),
      (error: Error) => error.message.includes(part),
      text,
    )
  }
  const { bounds } = parseTolerance('accuracy>=-2pt')
  assert.deepEqual(
    bounds.filter(({ measure }) => measure === 'accuracy').map(({ value }) => value),
    [-2],
  )
  assert.ok(
    bounds.some(({ measure }) => measure === 'latency'),
    'what is not named keeps its default',
  )
})

test('a bound is missed by points for shares, by a ratio otherwise, and never by what was not measured', () => {
  const by = (text: string) => missedBy(parseGoal(text).bounds[0], table)
  assert.ok(Math.abs(by('accuracy>=-0.5pt') - -0.2) < 1e-9)
  assert.ok(Math.abs(by('size<=0.25') - 0.025) < 1e-9)
  assert.ok(Math.abs(by('agreement>=99%') - 0.5) < 1e-9)
  assert.equal(by('memory<=0.1'), 0)
})

test('the verdict says in words what got worse, and that nothing was gained', () => {
  assert.deepEqual(judge(table, parseTolerance(undefined), 'int8'), { accepted: true, missed: [], reasons: [] })
  const slow = [...table.filter(({ name }) => name !== 'latency'), measured('latency', 1.05, 1.4)]
  const { accepted, missed, reasons } = judge(slow, parseTolerance(undefined), 'int8')
  assert.equal(accepted, false)
  assert.deepEqual(missed, ['latency'])
  assert.match(
    reasons[0],
    /^int8 is slower here \(.*\): 1\.40 ms against 1\.05 ms a request \(1\.33x\); <= 1\.1x was asked for$/,
  )
  assert.match(
    judge([measured('accuracy', 0.9, 0.88)], parseTolerance(undefined), 'int4').reasons[0],
    /int4 loses accuracy: 0\.8800 against 0\.9000 \(-2\.00 points\)/,
  )
  assert.match(
    judge([measured('size', 100, 100)], parseTolerance(undefined), 'trim').reasons[0],
    /trim gains nothing here/,
  )
})

test('of what was tried, the best within the bounds is chosen, or what misses them least; Pareto leaves out the beaten', () => {
  const made = (what: string, accuracy: number, latency: number, size: number) => ({
    what,
    result: what,
    table: [measured('accuracy', 0.9, accuracy), measured('latency', 1, latency), measured('size', 100, size)],
  })
  const tried = [
    made('a', 0.9, 0.9, 90),
    made('b', 0.898, 0.6, 30),
    made('c', 0.88, 0.5, 20),
    made('d', 0.897, 0.8, 40),
  ]
  assert.deepEqual(
    paretoBest(tried).map(({ what }) => what),
    ['a', 'b', 'c'],
  )
  assert.equal(choose(tried, parseGoal('accuracy>=-0.5pt,latency=min'))?.what, 'b')
  assert.equal(choose(tried, parseGoal('accuracy>=-0.5pt'))?.what, 'b')
  const none = parseGoal('accuracy>=-0.1pt,size<=0.35')
  assert.ok(!tried.some((one) => within(one, none)))
  assert.equal(choose(tried, none)?.what, 'b', 'it misses a tenth of a point')
})
