/** What is taken out of texts before they are kept: how it looks, and, where looks are not enough, how it is told from mere digits. */
const redactions: readonly { name: string; pattern: RegExp; holds?: (text: string) => boolean }[] = [
  {
    name: 'key',
    pattern:
      /-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]{0,8000}?-----END [A-Z ]{0,30}PRIVATE KEY-----|\beyJ[\w-]{8,2000}\.[\w-]{8,4000}\.[\w-]{8,1000}|\b(?:sk|pk|rk|ak|ghp|gho|ghs|github_pat|glpat|hf|xox[abps]|ath)[-_][\w-]{16,200}|\bA(?:KIA|SIA)[0-9A-Z]{16}\b|\bLTAI[0-9A-Za-z]{12,24}\b|\bBearer [\w.~+/-]{16,2000}=*/g,
  },
  { name: 'email', pattern: /[\w.%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}/g },
  { name: 'id', pattern: /(?<!\d)[1-9]\d{16}[\dXx](?![\dA-Za-z])/g, holds: isResidentNumber },
  {
    name: 'phone',
    pattern:
      /(?<![\d.])(?:\+?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?!\d)|(?<![\d-])0\d{2,3}-\d{7,8}(?!\d)|(?<!\d)\+\d{1,3}(?:[ -]?\(?\d{1,4}\)?){2,5}(?!\d)/g,
  },
  { name: 'card', pattern: /(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])/g, holds: isCardNumber },
]

/** The text with `<email>`, `<phone>`, `<id>`, `<card>` and `<key>` in place of what looks like one. */
export function redact(text: string): string {
  let result = text
  for (const { name, pattern, holds } of redactions)
    result = result.replace(pattern, (found) => (!holds || holds(found) ? `<${name}>` : found))
  return result
}

/** A Chinese resident number: a date of birth, and the check digit of GB 11643 (ISO 7064, MOD 11-2). */
function isResidentNumber(text: string): boolean {
  const [month, day] = [Number(text.slice(10, 12)), Number(text.slice(12, 14))]
  if (month < 1 || month > 12 || day < 1 || day > 31) return false
  let sum = 0
  for (let i = 0; i < 17; i++) sum += Number(text[i]) * (2 ** (17 - i) % 11)
  return '10X98765432'[sum % 11] === text[17].toUpperCase()
}

/** A card number: 13 to 19 digits whose last one checks the others (ISO/IEC 7812-1, Luhn). */
function isCardNumber(text: string): boolean {
  const digits = text.replace(/\D/g, '')
  let sum = 0
  for (let i = 0; i < digits.length; i++) {
    const digit = Number(digits[digits.length - 1 - i]) * (i % 2 ? 2 : 1)
    sum += digit > 9 ? digit - 9 : digit
  }
  return sum % 10 === 0 && !/^0+$/.test(digits)
}
