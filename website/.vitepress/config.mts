import { defineConfig } from 'vitepress'
import { markdown } from './markdown.mts'
import { nav, sidebar } from './sidebar.mts'

export default defineConfig({
  lang: 'en-GB',
  title: 'UnisonDB',
  description: 'A log-native database: hubs take writes into a durable log, and relayers at the edge follow it and serve local reads.',
  head: [['link', { rel: 'icon', type: 'image/svg+xml', href: '/logo.svg' }]],

  base: '/',
  outDir: '../dist/site',
  srcExclude: ['DESIGN.md'],
  lastUpdated: false,
  vite: {
    build: { chunkSizeWarningLimit: 2000 }, // the search index is one chunk
  },

  markdown,

  themeConfig: {
    logo: { src: '/logo.svg', alt: '' },
    nav,
    sidebar,
    outline: { level: [2, 3], label: 'On this page' },
    search: { provider: 'local' },
    notFound: { quote: 'There is no page at this address. The search may find what you look for.', linkLabel: 'Home', linkText: 'Home' },
    docFooter: { prev: 'Previous', next: 'Next' },
  },
})
