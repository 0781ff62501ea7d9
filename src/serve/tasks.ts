import { fail } from '../base/errors.ts'
import type { HubTaskName } from '../bundle/hub.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { Version } from '../registry/registry.ts'

const takes: Record<Exclude<Manifest['task'], HubTaskName>, string> = {
  'text-classification': 'takes texts to classify',
  'token-classification': 'takes texts to label',
  'feature-extraction': 'takes texts to embed',
  'fill-mask': 'takes texts to complete',
  'text-generation': 'writes texts: use its generate route',
  'image-classification': 'takes images to classify',
  tensor: 'takes tensors by name',
}

/** Tasks whose models answer texts. */
export const ofTexts = ['text-classification', 'token-classification', 'feature-extraction', 'fill-mask'] as const

/** Throws BAD_REQUEST where a model of pairs is given single texts, or another one pairs. */
export function checkPairs({ name, manifest }: Version, request: object) {
  if (!('texts' in request)) return
  const wanted = manifest.pipeline?.pairs === true
  if (wanted === 'pairs' in request) return
  const message = wanted
    ? `model "${name}" scores pairs of texts: give each text its pair, or use the routes rerank and score`
    : `model "${name}" takes single texts, not pairs`
  throw fail('BAD_REQUEST', { message })
}

/** Throws BAD_REQUEST, saying what a model is for, where it is for none of the tasks. */
export function checkTask({ name, manifest }: Version, tasks: readonly Manifest['task'][]) {
  if (tasks.includes(manifest.task)) return
  const what = takes[manifest.task as keyof typeof takes] ?? `is for ${manifest.task}: use its run route`
  throw fail('BAD_REQUEST', { message: `model "${name}" ${what}` })
}
